"""What is written beside its place, where nobody else may look, and put there in one step when it is whole."""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Self

import av
from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError, WarpedDiffusionError

SHOWN = 40
"""Letters of a clip's name that its temporary folder shows: names have an end, too."""

ENDING = ".part"


class Unfinished(ABC):
    """A clip in the making: a context manager. It is there, whole, when the context ends well, and else nothing is.

    Args:
        path: the clip's name.
        size: (H, W) of the frames to come, pixels.
        partial: the folder in which the clip is made, see `partial_folder`; for those who clean up after a process that
            was killed.
    Raises: UserError if that folder cannot be made.
    """

    def __init__(self, path: Path, size: tuple[int, int], partial: Path | None = None) -> None:
        self.path, self.size, self.written = path, size, 0
        self.partial = partial or partial_folder(path)
        self._closed = False
        self._open = ExitStack()
        """What has to be closed at last, however it ends."""
        with reported(path):
            self.partial.mkdir(mode=0o700)

    def close(self, path: Path | None = None) -> None:
        """Finish the clip and put it under its name; if that fails nothing is left.   Raises: UserError.

        path: for a clip that ends early, another name of the same kind.
        """
        if self._closed:
            return
        try:
            if not self.written:
                raise UserError(f"no frame came for {self.path}: a clip needs at least one")
            with reported(self.path):
                self._finish(path)
        finally:
            self._discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._discard()

    @abstractmethod
    def _finish(self, path: Path | None) -> None:
        """Write what is left, and move all to the clip's own name, or to `path`."""

    def _require_fit(self, frame: Tensor) -> None:
        """Raises: ShapeError for a frame that is not (3, H, W) or (4, H, W); WarpedDiffusionError if all is over."""
        if self._closed:  # FFmpeg would crash
            raise WarpedDiffusionError(f"{self.path} is closed: it takes no more frames")
        if frame.ndim != 3 or frame.shape[0] not in (3, 4) or tuple(frame.shape[1:]) != self.size:
            height, width = self.size
            raise ShapeError(f"{self.path} takes frames (3, {height}, {width}), got {tuple(frame.shape)}")

    def _discard(self) -> None:
        """Let go of everything and remove what is unfinished; after a success there is nothing."""
        self._closed = True
        self._open.close()
        rmtree(self.partial, ignore_errors=True)


def partial_folder(path: Path) -> Path:
    """A new name for a folder in which to make what will be `path`, on the same disk: a folder that is there holds it.

    The folder is hidden, and ends in `ENDING`.
    """
    unique = f"{secrets.token_hex(4)}{ENDING}"
    return path / f".{unique}" if path.is_dir() else path.absolute().with_name(f".{path.stem[:SHOWN]}.{unique}")


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Failures to write, a full disk or a folder that is read-only, become a UserError that names the file."""
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
