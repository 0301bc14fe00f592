"""Many clips: one's trouble is not the others', what is finished stays, and how it is told."""

import json
import os
import signal
import time
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from tests.models.tiny import tiny_denoiser
from tests.test_cli import run
from warped_diffusion import batch
from warped_diffusion.batch import Clip, Outcome, clips_of, exit_code, restore_many, summary
from warped_diffusion.errors import UserError
from warped_diffusion.models import embedded
from warped_diffusion.options import Options
from warped_diffusion.processes import Processes
from warped_diffusion.restore_video import restore_video
from warped_diffusion.video import VideoReader, VideoWriter


def write_clip(path: Path, seed: int = 0, count: int = 2) -> None:
    torch.manual_seed(seed)
    with VideoWriter(path, frame_rate=Fraction(25), size=(12, 16), overwrite=True) as writer:
        for _ in range(count):
            writer.write(torch.rand(3, 12, 16))


@pytest.fixture
def folder(tmp_path) -> Path:
    """a.mp4, b.mkv and c.avi, which is no video, and a.txt, which is not meant; weights of a tiny network."""
    clips = tmp_path / "clips"
    clips.mkdir()
    write_clip(clips / "a.mp4", 0)
    write_clip(clips / "b.mkv", 1)
    (clips / "c.avi").write_bytes(b"not a video")
    (clips / "a.txt").write_text("notes")
    embedded.save(tiny_denoiser(), tmp_path / "weights.safetensors", {})
    return tmp_path


def options_of(folder: Path, **changes: object) -> dict[str, object]:
    return {"options": Options(**{"scale": 2, "steps": 1, "model": str(folder / "weights.safetensors"), **changes})}


def states(outcomes) -> dict[str, str]:
    return {outcome.clip.source.name: outcome.state for outcome in outcomes}


def test_a_folder_is_restored_but_for_what_is_no_video_and_then_only_what_is_left(folder):
    out, asked = folder / "out", options_of(folder)
    clips = clips_of([folder / "clips"], out)
    assert [clip.target.name for clip in clips] == ["a.mp4", "b.mkv", "c.mkv"]
    outcomes = list(restore_many(clips, out, asked))
    assert states(outcomes) == {"a.mp4": "restored", "b.mkv": "restored", "c.avi": "refused"}
    assert exit_code(outcomes) == 2
    alone = folder / "alone.mp4"
    restore_video(folder / "clips" / "a.mp4", alone, **asked)
    assert alone.read_bytes() == (out / "a.mp4").read_bytes()

    (folder / "clips" / "c.avi").unlink()
    write_clip(folder / "clips" / "d.mp4", 2)
    before = (out / "a.mp4").stat().st_mtime_ns
    outcomes = list(restore_many(clips_of([folder / "clips"], out), out, asked))
    assert states(outcomes) == {"a.mp4": "finished before", "b.mkv": "finished before", "d.mp4": "restored"}
    assert exit_code(outcomes) == 0
    assert (out / "a.mp4").stat().st_mtime_ns == before
    lines = [json.loads(line) for line in (out / batch.LOG).read_text().splitlines()]
    assert [(Path(line["clip"]).name, line["state"]) for line in lines[3:]] == list(states(outcomes).items())


def test_what_was_made_otherwise_is_named_and_refused_unless_it_may_be_replaced(folder):
    out = folder / "out"
    clips = clips_of([folder / "clips" / "a.mp4"], out)

    def again(overwrite=False, **changes):
        (outcome,) = restore_many(clips, out, options_of(folder, **changes) | {"overwrite": overwrite})
        return outcome

    assert again().state == "restored"
    assert again(lanes=1, device="cpu").state == "finished before"  # neither changes the result
    other = again(steps=2)
    assert other.state == "refused"
    assert "steps 1, not 2" in other.note
    write_clip(folder / "clips" / "a.mp4", 7)
    assert "another input" in again().note
    assert again(overwrite=True).state == "restored"
    assert again(overwrite=True).state == "finished before"
    embedded.save(tiny_denoiser(seed=5), folder / "weights.safetensors", {})
    assert "another model" in again().note
    with (out / "a.mp4").open("ab") as file:
        file.write(b"more")
    assert "was changed since" in again().note
    next((out / ".restored").iterdir()).write_text("nonsense")
    assert "not made by restore-many" in again().note


def test_names_that_would_meet_are_refused(folder):
    write_clip(folder / "a.mp4")
    with pytest.raises(UserError, match="both be restored to"):
        clips_of([folder / "clips", folder / "a.mp4"], folder / "out")
    with pytest.raises(UserError, match="input itself"):
        clips_of([folder / "clips"], folder / "clips")
    assert len(clips_of([folder / "a.mp4", folder / "a.mp4"], folder / "out")) == 1
    (folder / "none").mkdir()
    with pytest.raises(UserError, match="holds no clip"):
        clips_of([folder / "none"], folder / "out")


def test_a_fault_of_ours_is_told_in_full_and_ends_nothing_else(folder, monkeypatch):
    def broken(source, target, **_):
        raise ZeroDivisionError("in the middle")

    monkeypatch.setattr(batch, "restore_video", broken)
    clips = clips_of([folder / "clips"], folder / "out")
    outcomes = list(restore_many(clips, folder / "out", options_of(folder)))
    assert set(states(outcomes).values()) == {"failed"}
    assert "ZeroDivisionError: in the middle" in outcomes[0].note
    assert "Traceback" in outcomes[0].details
    assert exit_code(outcomes) == 1
    assert "| a.mp4 | failed |" in summary(outcomes)


def test_the_command_takes_the_options_of_restore_and_ends_in_one_table(folder, monkeypatch, capsys):
    options = ["--scale", 2, "--steps", 1, "--model", folder / "weights.safetensors", "--jobs", 2]
    assert run(monkeypatch, "restore-many", folder / "clips", folder / "out", *options) == 2
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert [line.split("|")[1:4] for line in lines[2:]] == [
        [" a.mp4 ", " restored ", " 2 "],
        [" b.mkv ", " restored ", " 2 "],
        [" c.avi ", " refused ", "  "],
    ]
    assert "is not a video that can be decoded" in lines[4]
    assert "Traceback" not in told.err
    with VideoReader(folder / "out" / "a.mp4") as reader:
        assert reader.size == (24, 32)
    assert run(monkeypatch, "restore-many", folder / "clips") == 2


def work_of_many_kinds(clip: Clip) -> Outcome:
    """What workers are given here: one dies, one waits to be stopped, one is done."""
    if clip.source.name == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if clip.source.name == "waits":
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            return Outcome(clip, "stopped")
    return Outcome(clip, "restored")


def test_a_worker_that_dies_is_told_of_and_the_others_go_on():
    clips = [Clip(Path(name), Path("out")) for name in ("dies", "fine", "dies", "fine too")]
    outcomes = sorted(Processes(2)(work_of_many_kinds, clips), key=lambda outcome: outcome.state)
    assert [outcome.state for outcome in outcomes] == ["failed", "failed", "restored", "restored"]
    assert "SIGKILL" in outcomes[0].note


def test_an_interrupt_stops_what_runs_and_begins_nothing_more():
    clips = [Clip(Path(name), Path("out")) for name in ("waits", "fine", "waits", "fine")]
    run = Processes(2)(work_of_many_kinds, clips)
    outcomes = [next(run)]  # the second one, while the first waits and the third is begun
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    started = time.perf_counter()
    try:
        outcomes += run
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert sorted(outcome.state for outcome in outcomes) == ["restored", "stopped", "stopped"]
    assert time.perf_counter() - started < 30


def test_fewer_than_one_job_is_refused():
    with pytest.raises(UserError, match="from 1 up"):
        Processes(0)


def test_a_clip_that_was_stopped_goes_on_where_it_was(folder):
    """Ctrl-C after twelve frames: no other clip begins, and the next call does what is left."""
    out = folder / "out"
    write_clip(folder / "clips" / "a.mp4", count=24)
    (folder / "clips" / "c.avi").unlink()
    clips = clips_of([folder / "clips"], out)
    asked, seen, went_on = options_of(folder, lanes=1), [], []

    def progress(count):
        seen.append(count)
        if len(seen) == 12:
            os.kill(os.getpid(), signal.SIGINT)

    (stopped,) = restore_many(clips, out, asked | {"progress": progress})
    assert stopped.state == "stopped"
    assert "12 frames are finished" in stopped.note
    assert exit_code([stopped]) == 130
    assert set(states(restore_many(clips, out, asked | {"progress": went_on.append})).values()) == {"restored"}
    assert went_on[0] == 12  # what had been done
    restore_video(folder / "clips" / "a.mp4", folder / "alone.mp4", **asked)
    assert (folder / "alone.mp4").read_bytes() == (out / "a.mp4").read_bytes()
    assert {path.name for path in out.iterdir()} == {"a.mp4", "b.mkv", ".restored", batch.LOG}
