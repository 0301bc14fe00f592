"""The journal beside an output: killed, stopped or refused, no more than a few frames are lost, and none is changed."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.test_cli import SMALL, frames_of, run
from tests.video.clips import frame_times, make_clip, pictures, sound_packets
from warped_diffusion.errors import Stopped, UserError
from warped_diffusion.journal import AT_RISK, Journal, from_levels, to_levels
from warped_diffusion.models import embedded
from warped_diffusion.models.embedded import EmbeddedDenoiser
from warped_diffusion.options import Options
from warped_diffusion.restore_video import restore_video
from warped_diffusion.video import VideoWriter
from warped_diffusion.video.lossless import read_lossless, write_lossless

COUNT, SIZE, STEPS, LANES = 24, (16, 20), 3, 3
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """clip.mp4: frames of uneven duration, with sound; weights.safetensors: a tiny untrained network."""
    folder = tmp_path_factory.mktemp("journal")
    times = [(j + (j % 3) / 4) / 25 for j in range(COUNT)]
    make_clip(folder / "clip.mp4", pictures(COUNT, SIZE), sound="aac", times=times)
    torch.manual_seed(0)
    denoiser = EmbeddedDenoiser(SMALL)
    torch.nn.init.normal_(denoiser.network.leave.weight, std=0.02)
    embedded.save(denoiser, folder / "weights.safetensors", {})
    return folder


def restore(folder, target, progress=lambda _: None, **options):
    defaults = {
        "scale": 2,
        "steps": STEPS,
        "lanes": LANES,
        "flow": "dis",
        "model": folder / "weights.safetensors",
        "device": "cpu",
    }
    keywords = {name: options.pop(name) for name in ("compare", "overwrite") if name in options}
    return restore_video(folder / "clip.mp4", target, Options(**defaults | options), progress=progress, **keywords)


class Broken(Exception):
    """What no part of the program knows of."""


def broken_after(evaluations):
    """A progress that breaks the run off after so many."""
    left = evaluations

    def progress(count):
        nonlocal left
        left -= count
        if left < 0:
            raise Broken

    return progress


def same_clip(first, second):
    return torch.equal(frames_of(first), frames_of(second)) and frame_times(first) == frame_times(second)


def killed(folder, tmp_path, target, kills, seed):
    """A clip is restored with so many kills, and no frame is done more often than it should be."""
    command = [sys.executable, "-m", "tests.kills", folder / "clip.mp4", target]
    arguments = [folder / "weights.safetensors", kills, seed]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, command + arguments)), cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not [file.name for file in tmp_path.rglob("*") if file.suffix in (".journal", ".part")]
    reached = 0
    for counts in json.loads(done.stdout):
        # One that goes on first says how many evaluations it need not do again, more than any batch has.
        started = counts[0] if counts and counts[0] > LANES else 0
        if counts:
            assert reached - started <= AT_RISK * STEPS
        reached = max(reached, sum(counts))
    assert reached == COUNT * STEPS


def killed_clip(folder, tmp_path, kills, seed):
    killed(folder, tmp_path, tmp_path / "out.mp4", kills, seed)
    assert same_clip(tmp_path / "out.mp4", tmp_path / "whole.mp4")
    assert sound_packets(tmp_path / "out.mp4") == sound_packets(folder / "clip.mp4")


def test_a_clip_whose_process_is_killed_comes_out_the_same(folder, tmp_path):
    killed_clip(folder, tmp_path, 3, seed=1)


@pytest.mark.slow
def test_twenty_kills_change_nothing(folder, tmp_path):
    killed_clip(folder, tmp_path, 20, seed=2)


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_pictures_are_the_same_after_twenty_kills(folder, tmp_path):
    (tmp_path / "out").mkdir()
    killed(folder, tmp_path, tmp_path / "out" / "%03d.png", 20, seed=3)
    assert len(bytes_of(tmp_path / "out")) == COUNT
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")


def broken_off(folder, target, after=40, **options):
    with pytest.raises(Broken):
        restore(folder, target, broken_after(after), **options)


def test_what_is_broken_off_goes_on_and_is_the_same(folder, tmp_path):
    """With the clip beside itself, which has a journal of its own."""
    done, (first, second) = [], (tmp_path / name for name in ("first.mp4", "second.mp4"))
    assert restore(folder, first, compare=tmp_path / "beside.mp4").resumed == 0
    broken_off(folder, second, 100, compare=tmp_path / "beside-2.mp4")
    assert not second.exists()
    assert not list(tmp_path.glob(".*"))
    result = restore(folder, second, done.append, compare=tmp_path / "beside-2.mp4")
    assert (result.frames, sum(done)) == (COUNT, 2 * COUNT * STEPS)
    assert 100 / STEPS / 2 - AT_RISK - LANES <= result.resumed
    assert same_clip(first, second)
    assert same_clip(tmp_path / "beside.mp4", tmp_path / "beside-2.mp4")
    assert not list(tmp_path.glob("*.journal"))


@pytest.mark.parametrize("bad", [3, COUNT])
def test_what_cannot_be_encoded_is_told_by_whoever_restores_and_the_same_command_goes_on(
    folder, tmp_path, monkeypatch, bad
):
    """Frames are encoded by a second thread: its error comes out all the same, also that of the last frame."""
    restore(folder, tmp_path / "whole.mp4")
    write = VideoWriter.write

    def failing(self, frame):
        assert threading.current_thread() is not threading.main_thread()
        if self.written == bad - 1:
            raise UserError("out.mp4 cannot be written: no room")
        write(self, frame)

    with monkeypatch.context() as patch:
        patch.setattr(VideoWriter, "write", failing)
        with pytest.raises(UserError, match="no room"):
            restore(folder, tmp_path / "out.mp4")
    assert {path.name for path in tmp_path.iterdir()} <= {"whole.mp4", "out.mp4.journal"}
    if bad == COUNT:
        assert restore(folder, tmp_path / "out.mp4").resumed == COUNT
    else:
        restore(folder, tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_other_options_and_another_input_are_named_and_refused(folder, tmp_path):
    target = tmp_path / "out.mp4"
    broken_off(folder, target)
    with pytest.raises(UserError, match=r'begun otherwise: noise "gp", not "fixed"; steps 3, not 2\. Give the same'):
        restore(folder, target, noise="fixed", steps=2)
    make_clip(tmp_path / "clip.mp4", pictures(COUNT, SIZE, seed=1))
    with pytest.raises(UserError, match="another input"):
        restore_video(tmp_path / "clip.mp4", target, scale=2, steps=STEPS, lanes=LANES, device="cpu")
    assert restore(folder, target, overwrite=True).resumed > 0


def test_ctrl_c_ends_when_all_is_kept_and_says_how_to_go_on(folder, tmp_path, monkeypatch, capsys):
    target, done = tmp_path / "out.mp4", []

    def progress(count):
        done.append(count)
        if len(done) == 15:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped, match=r"frames are finished and kept in .*the same command goes on from there"):
        restore(folder, target, progress)
    stopped_at, went_on = sum(done), []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    restore(folder, target, went_on.append)
    assert went_on[0] == stopped_at  # nothing is done again
    restore(folder, tmp_path / "whole.mp4")
    assert same_clip(target, tmp_path / "whole.mp4")

    def stop(*_, **__):
        raise Stopped("at 3")

    monkeypatch.setattr(sys.modules["warped_diffusion.restore_video"], "restore_video", stop)
    assert run(monkeypatch, "restore", folder / "clip.mp4", tmp_path / "more.mp4") == 130
    assert capsys.readouterr().err.endswith("stopped: at 3\n")


def test_left_overs_of_a_killed_run_go_and_a_journal_has_one_user(folder, tmp_path):
    target, partial, other = tmp_path / "out.mp4", tmp_path / ".out.1234.part", tmp_path / ".another.part"
    broken_off(folder, target)
    index = tmp_path / "out.mp4.journal" / "journal.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"partial": [str(partial), str(other)[:-5]]}))
    partial.mkdir()
    for file in (partial / "clip.mp4", other, index.parent / "restored" / "frames-99999999.mkv.part"):
        file.write_bytes(b"half")
    journal, settings = Journal(target), json.loads(index.read_text())["settings"]
    journal.open(settings)
    assert journal.track("restored").is_begun
    with pytest.raises(UserError, match="is in use: another run"):
        Journal(target).open(settings)
    journal.__exit__(Broken, None, None)
    assert not partial.exists()
    assert other.exists()
    assert len(list((index.parent / "restored").iterdir())) == 2 + len(list(index.parent.glob("*/frames*")))


def test_a_damaged_journal_is_told_of(folder, tmp_path):
    broken_off(folder, tmp_path / "out.mp4")
    (state,) = (tmp_path / "out.mp4.journal").glob("*/state*")
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"damaged .*: delete it to begin anew"):
        restore(folder, tmp_path / "out.mp4")


def test_what_the_journal_carries_does_not_grow_with_the_clip(folder, tmp_path):
    sizes = []
    for after in (35, 65):
        target = tmp_path / f"{after}.mp4"
        broken_off(folder, target, after)
        sizes += [state.stat().st_size for state in Path(f"{target}.journal").glob("*/state*")]
    early, late = sizes
    assert late < 1.1 * early


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_frames_are_kept_exactly(tmp_path, dtype):
    levels = [np.random.default_rng(j).integers(0, np.iinfo(dtype).max, (13, 17, 3), dtype, True) for j in range(3)]
    write_lossless(tmp_path / "frames.mkv", levels)
    for given, kept in zip(levels, read_lossless(tmp_path / "frames.mkv"), strict=True):
        assert np.array_equal(kept, given)
        assert np.array_equal(to_levels(from_levels(given), np.dtype(dtype)), given)


def test_pictures_are_gone_on_with_and_appear_all_at_once(folder, tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    restore(folder, tmp_path / "first" / "%03d.png")
    broken_off(folder, tmp_path / "second" / "%03d.png", 60)
    assert [path.name for path in (tmp_path / "second").iterdir()] == ["%03d.png.journal"]
    assert restore(folder, tmp_path / "second" / "%03d.png").resumed > 0
    assert len(bytes_of(tmp_path / "first")) == COUNT
    assert bytes_of(tmp_path / "first") == bytes_of(tmp_path / "second")


def test_pictures_of_which_some_were_in_their_place_already_are_no_hindrance(folder, tmp_path, monkeypatch):
    """Killed while the finished pictures were moved; a picture that somebody else had put there is one, though."""
    (tmp_path / "out").mkdir()
    moved, replace = [], Path.replace

    def broken(self, target):
        if Path(target).suffix == ".png":
            moved.append(target)
        if len(moved) == 5:
            raise Broken
        return replace(self, target)

    (tmp_path / "out" / "020.png").touch()
    with pytest.raises(UserError, match=r"020\.png exists"):
        restore(folder, tmp_path / "out" / "%03d.png")
    (tmp_path / "out" / "020.png").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", broken)
        with pytest.raises(Broken):
            restore(folder, tmp_path / "out" / "%03d.png")
    assert len(list((tmp_path / "out").glob("*.png"))) == 4
    assert restore(folder, tmp_path / "out" / "%03d.png").resumed == COUNT
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [f"{j:03d}.png" for j in range(COUNT)]
