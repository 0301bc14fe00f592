"""Clips and results at URLs: fetched, restored, sent back, and a journal that is there whenever a worker is lost."""

from pathlib import Path

import pytest
import torch

from tests.models.tiny import tiny_denoiser
from tests.test_batch import options_of, states, write_clip
from tests.test_cli import frames_of
from warped_diffusion import storage
from warped_diffusion.batch import LOG, Clip, clips_of, restore_many
from warped_diffusion.errors import UserError
from warped_diffusion.models import embedded
from warped_diffusion.restoration import Restoration
from warped_diffusion.restore_video import restore_video
from warped_diffusion.storage import Mirror, at_hand, place, write_whole

pytest.importorskip("upath")


@pytest.fixture(params=["memory://tests", "file://"])
def remote(request, tmp_path) -> Path:
    """An empty folder at a URL."""
    if request.param == "file://":
        return place(f"file://{tmp_path}/remote")
    folder = place(f"memory://{tmp_path.name}")
    if folder.exists():
        folder.fs.rm(folder.path, recursive=True)
    return folder


@pytest.fixture
def weights(tmp_path) -> Path:
    embedded.save(tiny_denoiser(), tmp_path / "weights.safetensors", {})
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_a_folder_at_a_url_is_restored_into_another_as_on_this_machine(remote, weights):
    for seed, name in enumerate(["a.mp4", "b.mov"]):
        write_clip(weights / name, seed)
        write_whole(remote / "in" / "notes.txt", "no clip")
        with (weights / name).open("rb") as content:
            storage._send(content, remote / "in" / name)
    out, asked = remote / "out", options_of(weights)
    outcomes = list(restore_many(clips_of([remote / "in"], out), out, asked))
    assert states(outcomes) == {"a.mp4": "restored", "b.mov": "restored"}
    for name in ("a.mp4", "b.mov"):
        restore_video(weights / name, weights / f"alone-{name}", **asked)
        assert (out / name).read_bytes() == (weights / f"alone-{name}").read_bytes()
    assert names(out) == [".restored/a.mp4.json", ".restored/b.mov.json", "a.mp4", "b.mov", LOG]
    again = list(restore_many(clips_of([remote / "in"], out), out, asked))
    assert {outcome.state for outcome in again} == {"finished before"}
    assert len((out / LOG).read_text().splitlines()) == 4


def test_what_is_broken_off_is_gone_on_with_elsewhere(remote, weights, tmp_path):
    """The worker's own disk is lost with it: only what was sent can be gone on with."""
    write_clip(weights / "a.mp4", 0, count=12)
    asked = options_of(weights, lanes=1)
    restore_video(weights / "a.mp4", weights / "unbroken.mp4", **asked)
    target, frames = remote / "a.mp4", []

    def give_up(count: int) -> None:
        frames.append(count)
        if sum(frames) == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), at_hand(weights / "a.mp4", target) as (source, here, kept):
        restore_video(source, here, kept=kept, progress=give_up, **asked)
    assert not target.exists()
    assert not list(here.parent.glob("*"))
    with at_hand(weights / "a.mp4", target) as (source, here, kept):
        result = restore_video(source, here, kept=kept, **asked)
    assert result.resumed >= 11 - 8
    assert target.read_bytes() == (weights / "unbroken.mp4").read_bytes()
    assert names(remote) == ["a.mp4"]


def test_of_a_clip_that_a_model_fails_in_the_frames_before_are_sent(remote, weights, monkeypatch):
    """They lay beside the result, in a temporary folder that goes with the worker."""
    write_clip(weights / "a.mp4", 0, count=12)
    finished = Restoration.finished

    def failing(self, index, state, waiting):
        return finished(self, index, state * (torch.nan if index == 10 else 1), waiting)

    monkeypatch.setattr(Restoration, "finished", failing)
    asked, there = options_of(weights, lanes=1), "a.first-10-frames.mp4"
    (outcome,) = restore_many([Clip(weights / "a.mp4", remote / "a.mp4")], remote, asked)
    assert outcome.state == "refused"
    assert f"frame 10 holds values that are not finite ({remote / there} has the frames before it)" in outcome.note
    assert names(remote) == [there, LOG]
    restore_video(weights / "a.mp4", weights / "good.mp4", bounds=(0, 10), **asked)
    (weights / there).write_bytes((remote / there).read_bytes())
    assert torch.equal(frames_of(weights / there), frames_of(weights / "good.mp4"))


def test_a_result_that_cannot_be_sent_loses_nothing(remote, weights, monkeypatch):
    write_clip(weights / "a.mp4", 0, count=12)
    asked, send = options_of(weights, lanes=1), storage._send
    clips = [Clip(weights / "a.mp4", remote / "a.mp4")]

    def refusing(content, target):
        if target.name == "a.mp4":
            raise UserError(f"{target} cannot be written: no room")
        send(content, target)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "_send", refusing)
        (outcome,) = restore_many(clips, remote, asked)
    assert outcome.state == "refused"
    assert "no room" in outcome.note
    done: list[int] = []
    assert [one.state for one in restore_many(clips, remote, asked | {"progress": done.append})] == ["restored"]
    assert done == []  # but for encoding and sending nothing was left to do
    assert names(remote) == [".restored/a.mp4.json", "a.mp4", LOG]


def test_a_mirror_sends_what_is_named_before_what_names_it_and_only_what_is_new(remote, tmp_path, monkeypatch):
    here, sent = tmp_path / "journal", []
    send = storage._send
    monkeypatch.setattr(storage, "_send", lambda content, target: (sent.append(target.name), send(content, target)))
    (here / "pass").mkdir(parents=True)
    for name in ("index.json", "frames-0.mkv", "state-0.safetensors"):
        (here / "pass" / name).write_text(name)
    for name in ("journal.json", "lock", "index.json.part"):
        (here / name).write_text(name)
    mirror = Mirror(remote / "journal")
    mirror(here)
    assert sorted(sent[:2]) == ["frames-0.mkv", "state-0.safetensors"]
    assert sent[2:] == ["journal.json", "index.json"]
    sent.clear()
    (here / "pass" / "state-0.safetensors").unlink()
    (here / "pass" / "state-1.safetensors").write_text("next")
    (here / "pass" / "index.json").write_text("names the next")
    mirror(here)
    assert sent == ["state-1.safetensors", "index.json"]
    assert names(remote / "journal") == [
        "journal.json",
        *(f"pass/{n}" for n in ("frames-0.mkv", "index.json", "state-1.safetensors")),
    ]


def test_what_cannot_be_had_is_told_in_a_sentence(remote, weights):
    with pytest.raises(UserError, match="cannot be used"):
        place("nonsense://bucket/clip.mp4")
    with pytest.raises(UserError, match="does not exist"):
        clips_of([remote / "none.mp4"], remote)
    with pytest.raises(UserError, match="cannot be fetched"), at_hand(remote / "none.mp4", weights / "out.mp4"):
        pass
