"""Checkpoints of a run: folders `checkpoint-000250` that are whole or not there, the newest few of them."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STATE = "state.json"
"""Written last: a folder without it is not a checkpoint."""


def newest(out: Path) -> Path | None:
    """The newest whole checkpoint in the folder of a run, if there is one."""
    whole = _whole(out)
    return whole[-1] if whole else None


def read(folder: Path) -> dict[str, Any]:
    """How far the run of a checkpoint had come, and what of: see `Run.save`."""
    state: dict[str, Any] = json.loads((folder / STATE).read_text())
    return state


@contextmanager
def writing(out: Path, step: int, keep: int, main: bool, wait: Callable[[], None]) -> Iterator[Path]:
    """A folder to write a checkpoint into, which takes its place at the end; all but the newest `keep` are removed.

    A kill leaves the folder under its name ending in `.part`, which `newest` passes over and the next one removes.

    Args:
        main: whether this is the one process that makes and moves folders.
        wait: returns when all processes have come to it.
    """
    place = out / f"checkpoint-{step:06d}"
    part = place.with_suffix(".part")
    if main:
        for left in (*out.glob("checkpoint-*.part"), place):  # `place`: one that lost its state
            shutil.rmtree(left, ignore_errors=True)
        part.mkdir(parents=True)
    wait()
    yield part
    wait()
    if main:
        os.replace(part, place)
        for old in _whole(out)[:-keep]:
            shutil.rmtree(old)
    wait()


def _whole(out: Path) -> list[Path]:
    """The whole checkpoints, the oldest first."""
    found = [path for path in out.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted((path for path in found if (path / STATE).is_file()), key=lambda path: int(path.name[11:]))
