"""A full disk and a folder that is read-only: one sentence, nothing finished is lost, and the same command goes on."""

import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch

from tests.test_cli import run
from tests.test_journal import LANES, STEPS, broken_off, folder, restore, same_clip
from warped_diffusion.errors import UserError
from warped_diffusion.video import VideoWriter

resource = pytest.importorskip("resource", reason="limits on the size of files are Unix's")

__all__ = ["folder"]

ROOM = 4096
"""Bytes of a file that a full disk still takes: lists and locks, not frames."""

FAILURE = r"cannot be .*; the first \d+ frames are finished and kept: .* the same command goes on"


@pytest.fixture(scope="module")
def whole(folder) -> Path:
    """The restored clip of a run that was not disturbed."""
    restore(folder, folder / "whole.mp4")
    return folder / "whole.mp4"


@contextmanager
def full_disk():
    """No file may grow beyond `ROOM`: a limit on this process, which needs no rights to set and to lift."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def command(folder, target):
    options = ["--scale", 2, "--steps", STEPS, "--lanes", LANES, "--flow", "dis", "--device", "cpu"]
    return ["restore", folder / "clip.mp4", target, "--model", folder / "weights.safetensors", *options]


def refused(monkeypatch, capsys, arguments) -> str:
    """What a command says that ends with exit code 2, which is to be one sentence."""
    capsys.readouterr()
    assert run(monkeypatch, *arguments) == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    (sentence,) = [line for line in told.splitlines() if line.startswith("error: ")]
    assert told.endswith(f"{sentence}\n")
    return sentence


def test_what_was_finished_when_the_disk_became_full_is_gone_on_with(folder, whole, tmp_path):
    target, done, disk = tmp_path / "out.mp4", 0, ExitStack()

    def progress(count):
        nonlocal done
        done += count
        if done - count < 40 <= done:
            disk.enter_context(full_disk())

    with disk, pytest.raises(UserError, match=FAILURE):
        restore(folder, target, progress)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4.journal"]
    kept = sorted(path.name for path in (tmp_path / "out.mp4.journal" / "restored").iterdir())
    assert kept == ["frames-00000000.mkv", "index.json", "state-000000.safetensors"]  # and nothing that takes up room
    assert restore(folder, target).resumed > 0
    assert same_clip(target, whole)


def test_a_file_that_does_not_fit_is_one_sentence_and_leaves_nothing(tmp_path):
    torch.manual_seed(0)
    writer = VideoWriter(tmp_path / "clip.mkv", frame_rate=25, size=(64, 64), codec="ffv1")

    def write():
        with writer:
            for _ in range(30):
                writer.write(torch.rand(3, 64, 64))

    with full_disk(), pytest.raises(UserError, match=r"clip\.mkv cannot be written: File too large"):
        write()
    assert not list(tmp_path.iterdir())


@pytest.fixture
def disk(tmp_path):
    """A small disk in memory: a function that gives it a size in bytes, or makes it read-only, and its folder."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options, again=True):
        words = ["mount", "-t", "tmpfs", "-o", f"remount,{options}" if again else options, "tmpfs", place]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    try:
        made = mount("size=1m", again=False)
    except FileNotFoundError:
        pytest.skip("there is no command to mount a disk with")
    if made.returncode:
        pytest.skip(f"a disk may not be mounted here: {made.stderr.strip()}")
    yield place, mount
    subprocess.run(["umount", "--lazy", place], check=True)  # caught errors may hold files open


def test_a_disk_that_is_made_larger_is_gone_on_with(folder, whole, disk, tmp_path, monkeypatch, capsys):
    """Room for the first state and the frames before it, but not for the second, which is written beside the first."""
    place, mount = disk
    broken_off(folder, tmp_path / "other.mp4")
    first = sum(path.stat().st_size for path in tmp_path.glob("other.mp4.journal/**/*"))
    assert mount(f"size={int(1.7 * first)}").returncode == 0
    said = refused(monkeypatch, capsys, command(folder, place / "out.mp4"))
    assert f"{place / 'out.mp4.journal' / 'restored'} cannot be read or written: No space left on device; the" in said
    assert mount("size=64m").returncode == 0
    assert run(monkeypatch, *command(folder, place / "out.mp4")) == 0
    assert "gone on with after" in capsys.readouterr().err
    assert same_clip(place / "out.mp4", whole)
    assert [path.name for path in place.iterdir()] == ["out.mp4"]


def test_a_disk_that_becomes_read_only_loses_nothing(folder, whole, disk, monkeypatch, capsys):
    place, mount = disk
    assert mount("size=64m").returncode == 0
    broken_off(folder, place / "out.mp4")
    before = {path: path.stat().st_size for path in place.rglob("*")}
    assert mount("ro").returncode == 0
    said = refused(monkeypatch, capsys, command(folder, place / "out.mp4"))
    assert said.endswith("cannot be read or written: Read-only file system")
    assert {path: path.stat().st_size for path in place.rglob("*")} == before
    assert mount("rw").returncode == 0
    assert restore(folder, place / "out.mp4").resumed > 0
    assert same_clip(place / "out.mp4", whole)


def test_a_place_that_takes_no_files_is_one_sentence(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("no folder")
    for place in (tmp_path / "file", Path("/proc")):
        assert f"{place / 'out.mp4'}" in refused(monkeypatch, capsys, command(folder, place / "out.mp4"))
