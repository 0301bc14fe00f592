"""What is kept of a restoration beside its output, so that no more than a few frames are lost when it is broken off.

A folder OUTPUT.journal holds `journal.json` (format, settings) and for each pass over the clip a folder with

    frames-00000016.mkv        finished frames from that one on, lossless; a file for each time that some are kept
    state-000003.safetensors   what the run carried on when the last of them was kept, see `snapshots`
    index.json                 which of these count; replaced in one step, once the files that it names are on the disk

A clip that is restored in parts (see `parts`) has a folder of this kind for each of them within its own instead.
What `index.json` does not name is a left-over of a run that was killed, and is removed. Nothing is pickled.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self

import av
import numpy as np
import torch
from torch import Tensor

from warped_diffusion.errors import Stopped, UserError
from warped_diffusion.fingerprints import differences
from warped_diffusion.memory import give_back
from warped_diffusion.running import Run
from warped_diffusion.snapshots import READING_ERRORS, read_state, write_state
from warped_diffusion.video.lossless import LEVELS, read_lossless, write_lossless
from warped_diffusion.video.unfinished import ENDING, partial_folder

FORMAT = 1
"""Of the files; another one cannot be gone on with."""

AT_RISK = 8
"""Frames, by their denoiser evaluations, that are restored again at most after a run was killed."""


class Journal:
    """The folder of one output: a context manager that removes it when the output is whole, or nothing is in it.

    Args:
        target: the output, beside which the folder lies.
        kept: told of the folder whenever something new is safely in it.
    """

    def __init__(self, target: Path, kept: Callable[[Path], None] = lambda _: None) -> None:
        self.folder = folder_of(target)
        self._tell = kept
        self._lock: IO[str] | None = None
        self._kept: dict[str, Any] = {}
        self._opened = self._forgotten = self._left = False
        self.placing = False
        """Whether the output was whole, and on its way into its place: what is there of it is this command's own."""

    def open(self, settings: dict[str, Any]) -> None:
        """Begin, or go on where there is something to go on with.

        Raises: UserError where it was begun with other settings, is in use, or cannot be read or written.
        """
        kept = self.folder / "journal.json"
        if not self.folder.parent.is_dir():
            raise UserError(f"{self.folder} cannot be written: there is no folder {self.folder.parent}")
        with _reported(self.folder):
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self._lock = _locked(self.folder)
            self._kept = _read_json(kept) if kept.exists() else {}
        begun = self._kept.get("settings", settings)
        changed = differences(begun, settings) if self._kept.get("format", FORMAT) == FORMAT else "another format"
        if changed:
            raise UserError(
                f"{self.folder} was begun otherwise: {changed}. Give the same to go on, or delete that "
                "folder to begin anew"
            )
        for name in self._kept.get("partial", []):
            _remove_partial(Path(name))
        self.placing = bool(self._kept.get("placing"))
        self._kept = {
            "format": FORMAT,
            "settings": settings,
            "partial": [],
            "parts": self.parts,
            "placing": self.placing,
        }
        self._opened = True
        self._write()

    def track(self, name: str, bits: int = 8) -> "Track":
        """What is kept of one pass over the clip, whose frames are to be exact to so many bits."""
        return Track(self.folder / name, bits, lambda: self._tell(self.folder))

    def partial(self, path: Path) -> Path:
        """The folder in which to make what will be `path`: if the run is killed it is removed when that goes on."""
        partial = partial_folder(path).absolute()
        self._kept["partial"].append(str(partial))
        self._write()
        return partial

    @property
    def parts(self) -> list[dict[str, Any]]:
        """In which the clip is restored, as they were given; none if it is in one piece."""
        return list(self._kept.get("parts", []))

    def divide(self, parts: list[dict[str, Any]]) -> None:
        """Note the parts in which the clip is to be restored, for all that go on with it, and leave the folder."""
        self._kept["parts"] = parts
        self._write()
        self._tell(self.folder)
        self.leave()

    def leave(self) -> None:
        """Keep the folder, although all goes well."""
        self._left = True

    def place(self) -> None:
        """Note that all is made, and is now put into its place."""
        self._kept["placing"] = True
        self._write()

    def forget(self) -> None:
        """Remove all that is kept, whatever comes: there is nothing to go on with."""
        self._forgotten = True

    @property
    def count(self) -> int:
        """Finished frames of the output."""
        with _reported(self.folder):
            return sum(int(_read_json(index)["frames"]) for index in self.folder.rglob("restored/index.json"))

    @property
    def is_empty(self) -> bool:
        """Whether no track has anything to go on with."""
        return not any(self.folder.rglob("index.json"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._lock is None:
            return
        useless = self._forgotten or (not self._left and (kind is None or self.is_empty))
        if self._opened and useless:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def _write(self) -> None:
        with _reported(self.folder):
            _replace(self.folder / "journal.json", lambda path: path.write_text(json.dumps(self._kept)))


def folder_of(target: Path) -> Path:
    """Where the journal of an output is."""
    return target.with_name(f"{target.name}.journal")


class Track:
    """One pass over a clip: its finished frames and what its run carries.

    Args:
        folder: its own.
        bits: of a sample of its frames, 8 or 16.
        kept: called whenever something new is safely in it.
    Raises: UserError, here and in all it does, for a folder that cannot be read or written, or is damaged.
    """

    def __init__(self, folder: Path, bits: int = 8, kept: Callable[[], None] = lambda: None) -> None:
        self.folder, self._tell = folder, kept
        self.dtype: np.dtype[Any] = LEVELS[bits]
        self._index: dict[str, Any] = {"segments": [], "frames": 0, "state": None, "done": False}
        with _reported(folder):
            folder.mkdir(mode=0o700, exist_ok=True)
            if (folder / "index.json").exists():
                self._index = _read_json(folder / "index.json")
            self._tidy()

    @property
    def is_begun(self) -> bool:
        return self.done or self._index["state"] is not None

    @property
    def done(self) -> bool:
        """Whether all frames of the clip are here."""
        return bool(self._index["done"])

    @property
    def count(self) -> int:
        """Finished frames."""
        return int(self._index["frames"])

    def state(self) -> dict[str, Any]:
        """What the run carried after the last of them."""
        with _reported(self.folder):
            return read_state(self.folder / self._index["state"])

    def frames(self) -> Iterator[Tensor]:
        """The finished frames, (3, H, W) in [0, 1]."""
        for name in list(self._index["segments"]):
            with _reported(self.folder):
                for levels in read_lossless(self.folder / name):
                    yield from_levels(levels)

    def add(self, frames: list[np.ndarray], state: dict[str, Any] | None) -> None:
        """Keep the next finished frames, and what the run carries on after them; None after the clip's last one.

        If that fails, all that was kept before is as it was, and no room is taken by what was not.
        """
        index = dict(self._index)
        kept = f"; the first {self.count} frames are finished and kept: once that is mended the same command goes on"
        try:
            with _reported(self.folder, kept if self.is_begun else ""):
                if frames:
                    segment = f"frames-{self.count:08d}.mkv"
                    _replace(self.folder / segment, lambda path: write_lossless(path, frames))
                    index["segments"] = [*index["segments"], segment]
                index |= {"frames": self.count + len(frames), "state": None, "done": state is None}
                if state is not None:
                    number = 0 if self._index["state"] is None else int(self._index["state"][6:12]) + 1
                    index["state"] = f"state-{number % 10**6:06d}.safetensors"
                    _replace(self.folder / index["state"], lambda path: write_state(state, path))
                _replace(self.folder / "index.json", lambda path: path.write_text(json.dumps(index)))
                self._index = index
                self._tidy()
        except UserError:
            with suppress(OSError):
                self._tidy()
            raise
        self._tell()

    def run(self, run: Run | None, stop: Callable[[], bool] = lambda: False) -> Iterator[Tensor]:
        """The frames of the whole clip: those that are here, then those of a run that goes on after them, as it goes.

        Args:
            run: resumed from the `state`, if there is one; None where all is `done`.
            stop: asked after every evaluation of the denoiser.
        Raises: Stopped when `stop` says so, once everything is kept.
        """
        yield from self.frames()
        held: list[np.ndarray] = []
        kept_at = 0 if run is None else run.evaluations
        while run is not None and not run.done:
            for frame in run.advance():
                held.append(to_levels(frame, self.dtype))
                yield from_levels(held[-1])
            stopped = stop()
            # Another evaluation may be of as many frames as there are lanes.
            if run.done or stopped or run.evaluations - kept_at + run.lanes > AT_RISK * run.steps:
                self.add(held, None if run.done else run.state())
                held, kept_at = [], run.evaluations
                give_back()
            if stopped and not run.done:
                raise Stopped(
                    f"{self.count} frames are finished and kept in {self.folder.parent}: "
                    "the same command goes on from there"
                )

    def _tidy(self) -> None:
        counted = {*self._index["segments"], self._index["state"], "index.json"}
        for file in self.folder.iterdir():
            if file.name not in counted:
                file.unlink()


def to_levels(frame: Tensor, dtype: np.dtype) -> np.ndarray:
    """(3, H, W) in [0, 1], values beyond clipped -> (H, W, 3) of that dtype, rounded to its levels."""
    top = np.iinfo(dtype).max
    levels = (frame.detach().cpu().clamp(0, 1) * top).round().permute(1, 2, 0)  # as the encoder's frames are rounded
    return levels.numpy().astype(dtype)


def from_levels(levels: np.ndarray) -> Tensor:
    """The frame again: (3, H, W) float32 in [0, 1]."""
    frame = torch.from_numpy(levels.astype(np.float32)) / float(np.iinfo(levels.dtype).max)
    return frame.permute(2, 0, 1).contiguous()


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Put a file in its place in one step, once it is on the disk."""
    partial = path.with_name(f"{path.name}.part")
    write(partial)
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    with suppress(OSError):  # a folder cannot be opened everywhere
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _read_json(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text())
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} holds no table")
    return value


def _remove_partial(file: Path) -> None:
    if file.name.startswith(".") and file.suffix == ENDING:
        shutil.rmtree(file, ignore_errors=True)


def _locked(folder: Path) -> IO[str]:
    """The folder's lock, which goes with the process.   Raises: UserError if another one has it."""
    file = (folder / "lock").open("w")
    try:
        import fcntl  # not on every system; without it users have to see to it

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise UserError(f"{folder} is in use: another run is restoring the same output") from error
    except (ImportError, OSError):  # a disk without locks
        pass
    return file


@contextmanager
def _reported(folder: Path, kept: str = "") -> Iterator[None]:
    """A full disk, a folder that is read-only or a damaged file become a sentence; `kept` ends the first two's."""
    try:
        yield
    except UserError:
        raise
    except (OSError, av.FFmpegError) as error:
        raise UserError(f"{folder} cannot be read or written: {error.strerror or error}{kept}") from error
    except READING_ERRORS as error:
        raise UserError(f"{folder} is damaged ({error}): delete it to begin anew") from error
