"""Clips and masks that are damaged or lie: each ends in a restored clip or in one sentence, and leaves nothing over."""

import gc
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hostile import make_case
from tests.models.tiny import tiny_denoiser
from tests.watched import Watched
from warped_diffusion import cli
from warped_diffusion.models import embedded
from warped_diffusion.video import VideoReader

QUICK, ALL = 50, 500


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        done: what was done to the files before.
        code: its exit code.
        told: all that it said on stderr.
        made: what it left, or took away, in the case's folder and in that for temporary files, but for the clip itself.
        opened: how many more files are open than before.
    """

    done: str
    code: int
    told: str
    made: list[str]
    opened: int


def restored(seed: int, folder: Path, weights: Path) -> Ended:
    """Make a case in `folder` and restore it into its out.mkv; in a process of its own."""
    tempfile.tempdir = str(folder.with_name(f"{folder.name}-tmp"))
    Path(tempfile.tempdir).mkdir()
    arguments, done = make_case(seed, folder)
    task = "inpainting" if "--mask" in arguments else "super-resolution"
    options = ["--steps", 1, "--model", weights / f"{task}.safetensors", "--max-pixels", 40_000, "--max-frames", 60]
    # What comes after reading takes longest, and a quarter of the cases shows it as well.
    options += [] if seed % 4 == 0 else ["--noise", "resample", "--guidance", "none"]
    options += ["--scale", 2] if task == "super-resolution" else []
    before, opened = files(folder), open_files()
    code, told = command("restore", arguments[0], folder / "out.mkv", *arguments[1:], *options)
    made = (files(folder) ^ before) - {folder / "out.mkv"} | files(Path(tempfile.tempdir))
    return Ended(done, code, told, sorted(map(str, made)), open_files() - opened)


def command(*arguments: object) -> tuple[int, str]:
    """The exit code of `warped-diffusion ARGUMENTS`, and what it says on stderr."""
    sys.argv, told = ["warped-diffusion", *map(str, arguments)], io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(told):
        try:
            cli.main()
        except SystemExit as stop:
            return int(stop.code or 0), told.getvalue()
    return 0, told.getvalue()


def files(folder: Path) -> set[Path]:
    """All in a folder and below it."""
    return set(folder.rglob("*"))


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for task in ("super-resolution", "inpainting"):
        embedded.save(tiny_denoiser(task=task), folder / f"{task}.safetensors", {})
    return folder


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    watched = Watched(restored)
    yield watched
    watched.end()


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[] if seed < QUICK else pytest.mark.slow) for seed in range(ALL)]
)
def test_a_hostile_file_ends_in_a_clip_or_a_sentence(seed, weights, watched, tmp_path):
    ended = watched(seed, tmp_path, weights)
    assert ended.code in (0, 2), ended
    assert "Traceback" not in ended.told, ended
    assert ended.made == [], ended
    assert ended.opened <= 0, ended
    target = tmp_path / "out.mkv"
    if ended.code == 2:
        sentences = [line for line in ended.told.splitlines() if line.startswith("error: ")]
        assert len(sentences) == 1, ended
        assert len(sentences[0]) > len("error: "), ended
        assert not target.exists(), ended
    else:
        with VideoReader(target) as reader:
            assert all(bool(frame.isfinite().all()) for frame in reader), ended
