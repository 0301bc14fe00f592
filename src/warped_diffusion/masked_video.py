"""A video with what is to be filled in of it, as its user names that: the frames and the masks of a restoration."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import tee
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.estimators import Tracker
from warped_diffusion.holes import check_width
from warped_diffusion.masks import Box, binary, box_mask, dilate
from warped_diffusion.video import USUAL, AlphaChannel, Limits, MaskFile, VideoReader

Bounds = tuple[int | None, int | None]
"""First frame and the frame after the last, either open."""

Pad = tuple[int, int, int, int]
"""LEFT, TOP, RIGHT, BOTTOM, pixels."""

ALPHA = "alpha"


@dataclass(frozen=True)
class MaskSource:
    """Which part of a video is to be filled in.

    Attributes:
        mask: a picture for all frames, a video or a folder of pictures with one for each frame of the clip, or "alpha"
            for what is transparent in the clip itself. Above one half of white is to be filled in.
        box: LEFT, TOP, WIDTH, HEIGHT of a box to fill in instead; what lies beyond the frame is cut off.
        track: the one mask is of the first frame, and moves on with the object that it covers.
        pad: LEFT, TOP, RIGHT, BOTTOM pixels by which the frame is enlarged, to be filled in (outpainting).
    Raises: UserError for what contradicts itself.
    """

    mask: str | Path | None = None
    box: Box | None = None
    track: bool = False
    pad: Pad | None = None

    def __post_init__(self) -> None:
        if self.mask is not None and self.box is not None:
            raise UserError("there are a mask and a box: give one of them")
        if self.track and (self.mask == ALPHA or (self.mask is None and self.box is None)):
            raise UserError("a mask can be tracked that is given once, for the first frame: give a picture or a box")
        if self.pad is not None and (min(self.pad) < 0 or not any(self.pad)):
            raise UserError(f"the padding is LEFT,TOP,RIGHT,BOTTOM in pixels from 0 up, not all 0, got {self.pad}")

    @property
    def wanted(self) -> bool:
        return self.mask is not None or self.box is not None or self.pad is not None


class MaskedVideo:
    """Frames of a video and the masks that go with them, streams that are to be read side by side.

    Args:
        reader: the video, opened; its frames are read once.
        source: what is to be filled in.
        grow: pixels by which masks are dilated; the border of a padded frame is not.
        masked: whether the masks are wanted, or the frames alone.
    Raises: UserError for masks that cannot be read, or of which there are more or fewer than frames (as far as files
        have a count; else, or where they differ by one, it is found out when either ends), ShapeError for masks of
        another size.
    """

    def __init__(self, reader: VideoReader, source: MaskSource, grow: int = 0, masked: bool = True) -> None:
        self.reader, self.source, self.grow = reader, source, check_width("dilate", grow)
        left, top, right, bottom = source.pad or (0, 0, 0, 0)
        self.size = (reader.size[0] + top + bottom, reader.size[1] + left + right)
        """(height, width) of the frames, padded."""
        self.masks: Iterator[Tensor] | None = None
        """(1, H, W) of 0 and 1 for each frame; None if no hole is wanted."""
        self._filled, self._tracker = 0, None  # type: int, Tracker | None
        frames: Iterable[Tensor] = reader
        if source.wanted and masked:
            frames, seen = tee(reader)  # the two are read side by side: hardly anything is held
            self.masks = self._padded(self._given(seen))
        self.frames = self._enlarged(frames)

    @property
    def warning(self) -> str | None:
        """What to tell the user of the masks after the last frame."""
        if self._tracker is not None and self._tracker.lost is not None:
            return f"the object could not be found from frame {self._tracker.lost} of the range on: look at the mask"
        if self.masks is not None and not self._filled:
            return "the mask is empty: no frame has a hole, and all were given back as they are"
        return None

    def _given(self, frames: Iterator[Tensor]) -> Iterator[Tensor]:
        """The masks of the video's own size, before they are dilated; all that can be wrong beforehand is told now."""
        source, within = self.source, (self.reader.start, self.reader.stop, self.reader.limits)
        if source.box is not None:
            return self._spread(box_mask(source.box, self.reader.size), frames)
        if source.mask is None:
            return self._spread(torch.zeros(1, *self.reader.size), frames)
        if source.mask == ALPHA:
            return self._checked(AlphaChannel(self.reader.path, *within))
        file = MaskFile(source.mask, *within)
        if file.one is not None:
            return self._spread(self._binary(file.one, str(source.mask)), frames)
        if source.track:
            raise UserError(f"{source.mask} has more than one mask: track the one of a picture, or leave tracking out")
        expected = self.reader.frames_expected if self.reader.frames_counted else None
        if file.count is not None and expected is not None and abs(file.count - expected) > 1:
            raise UserError(
                f"{source.mask} has {file.count} masks, {self.reader.path} {expected} frames: give one picture, or one "
                "mask for each frame"
            )
        self._binary(next(iter(file)), str(source.mask))  # a wrong size is told before anything is restored
        return self._checked(file)

    def _binary(self, mask: Tensor, name: str) -> Tensor:
        height, width = self.reader.size
        if tuple(mask.shape) != (1, height, width):
            came = f"{mask.shape[-1]}x{mask.shape[-2]}"
            raise ShapeError(f"{name} is {came}, {self.reader.path} {width}x{height}: give a mask of the clip's size")
        return binary(mask, self.reader.size)

    def _checked(self, masks: Iterable[Tensor]) -> Iterator[Tensor]:
        for index, mask in enumerate(masks):
            if self.reader.truncated:  # masks of frames that could not be read
                return
            yield self._binary(mask, f"the mask of frame {self.reader.start + index}")

    def _spread(self, mask: Tensor, frames: Iterator[Tensor]) -> Iterator[Tensor]:
        """The one mask for each of the frames: where it is, or where its object has gone."""
        for frame in frames:
            if not self.source.track:
                yield mask
            elif self._tracker is None:
                self._tracker = Tracker(frame, mask)
                yield mask
            else:
                yield self._tracker.advance(frame)

    def _padded(self, masks: Iterator[Tensor]) -> Iterator[Tensor]:
        for given in masks:
            mask = dilate(given, self.grow)
            mask = self._within(mask, 1.0)
            self._filled += bool(mask.any())
            yield mask

    def _enlarged(self, frames: Iterable[Tensor]) -> Iterator[Tensor]:
        return (self._within(frame, 0.5) for frame in frames)

    def _within(self, picture: Tensor, border: float) -> Tensor:
        if self.source.pad is None:
            return picture
        left, top, right, bottom = self.source.pad
        return F.pad(picture, (left, right, top, bottom), value=border)


def open_masked(
    path: str | Path,
    bounds: Bounds,
    source: MaskSource,
    grow: int,
    stack: ExitStack,
    masked: bool = True,
    frame_rate: Fraction | None = None,
    limits: Limits = USUAL,
) -> MaskedVideo:
    """The video of that name and its masks, closed with the stack.   Raises: as `VideoReader` and `MaskedVideo`."""
    reader = stack.enter_context(VideoReader(path, *bounds, frame_rate=frame_rate, limits=limits))
    return MaskedVideo(reader, source, grow, masked)
