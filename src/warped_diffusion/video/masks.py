"""Masks out of files: a picture for all frames, or a video or a folder of pictures with one for each."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from av import VideoFrame
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.video.color import to_alpha, to_tensor
from warped_diffusion.video.limits import USUAL, Limits
from warped_diffusion.video.reader import VideoReader
from warped_diffusion.video.sequence import find_pictures, is_sequence


class MaskFile:
    """Masks as a file or a folder has them: brightness in [0, 1], white is to be filled in.

    A file with a single picture holds one mask for all frames; so does a folder with a single one.

    Args:
        path: a picture, a video, or a folder or pattern of pictures, in natural order (see `find_pictures`).
        start, stop: the frames that masks are wanted of, start <= index < stop, where there is one for each.
        limits: how large they may be.
    Raises: UserError for a missing file, one that cannot be decoded, a folder without pictures, or no mask within the
        range; while masks are read, if one of a folder cannot be decoded.
    """

    def __init__(
        self, path: str | Path, start: int | None = None, stop: int | None = None, limits: Limits = USUAL
    ) -> None:
        self.path, self.start, self.stop, self._limits = Path(path), start or 0, stop, limits
        several = is_sequence(self.path)
        if not several and not self.path.exists():
            raise UserError(f"{self.path} does not exist: --mask is a picture, a video, a folder of pictures, or alpha")
        self._files = find_pictures(self.path) if several else []
        self.one: Tensor | None = _only_picture(self._files[0] if self._files else self.path, len(self._files), limits)
        """The mask of all frames, (1, h, w), if there is only one."""
        self.count = 1 if self.one is not None else self._count()
        """How many masks there are within the range; None if the file has no count of them."""

    def __iter__(self) -> Iterator[Tensor]:
        """(1, h, w) each; the file is open only meanwhile."""
        if self._files:
            for file in islice(self._files, self.start, self.stop):
                with VideoReader(file, picture=to_brightness, limits=self._limits) as reader:
                    yield next(reader)
        else:
            with VideoReader(self.path, self.start, self.stop, to_brightness, limits=self._limits) as reader:
                yield from reader

    def _count(self) -> int | None:
        if self._files:
            count = len(self._files[self.start : self.stop])
            if not count:
                raise UserError(f"{self.path} holds {len(self._files)} masks, none of them of frame {self.start}")
            return count
        with VideoReader(self.path, self.start, self.stop, to_brightness, limits=self._limits) as reader:
            return reader.frames_expected if reader.frames_counted else None


class AlphaChannel:
    """Masks from a video's own alpha channel: what is transparent is to be filled in.

    Args:
        path, start, stop, limits: the video, as for `VideoReader`.
    Raises: UserError if it has no alpha channel; as `VideoReader`.
    """

    def __init__(
        self, path: str | Path, start: int | None = None, stop: int | None = None, limits: Limits = USUAL
    ) -> None:
        self._arguments = (path, start, stop, to_transparency, None, limits)
        with VideoReader(*self._arguments):  # a clip without one is told at once
            pass

    def __iter__(self) -> Iterator[Tensor]:
        """(1, h, w) each."""
        with VideoReader(*self._arguments) as reader:
            yield from reader


def to_brightness(frame: VideoFrame) -> Tensor:
    """(1, H, W) in [0, 1], the mean of red, green and blue."""
    return to_tensor(frame).mean(0, keepdim=True)


def to_transparency(frame: VideoFrame) -> Tensor:
    """(1, H, W) in [0, 1], 1 where nothing is.   Raises: UserError if the frame has no alpha channel."""
    alpha = to_alpha(frame)
    if alpha is None:
        raise UserError(f"the input has no alpha channel, its pixels are {frame.format.name}: give --mask a file")
    return 1 - alpha


def _only_picture(path: Path, files: int, limits: Limits) -> Tensor | None:
    """The one picture of a file, unless it has more or is one of several; files: of its folder, 0 if it has none."""
    with VideoReader(path, picture=to_brightness, limits=limits) as reader:
        first = next(reader)
        return first if files <= 1 and next(reader, None) is None else None
