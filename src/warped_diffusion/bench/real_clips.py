"""Real clips: which frames of which file, made small, and reduced as an input would be."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.evaluate.moved import SAMPLE
from warped_diffusion.tasks import area_average, degrade
from warped_diffusion.video import VideoReader

LONG_SIDE = 400
"""Pixels: larger clips are made smaller by the least whole factor that does, unless one is given."""
MULTIPLE = 8
"""Of both sides, so that each factor from 2 to 8 that is measured fills whole blocks."""
SMALLEST = 32
"""Pixels of the shorter side."""
REPEAT = 1e-3
"""Mean absolute difference below which a frame is the one before it again."""

_WRITTEN = re.compile(r"(?P<path>.+)@(?P<start>\d*):(?P<stop>\d*)(?:/(?P<shrink>\d+))?")


@dataclass(frozen=True)
class RealClip:
    """Frames of a file, one shot: all of them, or from `start` up to, not including, `stop`.

    Attributes:
        shrink: the frames are made smaller by this factor, by area average; None for what `LONG_SIDE` asks for.
    """

    path: Path
    start: int | None = None
    stop: int | None = None
    shrink: int | None = None

    @classmethod
    def parse(cls, text: str) -> "RealClip":
        """FILE, FILE@START:END or FILE@START:END/SHRINK; either end may be left out.

        Raises: UserError for a range without a frame, or a factor of nothing.
        """
        found = _WRITTEN.fullmatch(text)
        if found is None:
            return cls(Path(text))
        start, stop, shrink = (int(part) if part else None for part in found.group("start", "stop", "shrink"))
        if (stop is not None and stop <= (start or 0)) or shrink == 0:
            raise UserError(
                f"a clip is FILE[@START:END[/SHRINK]] with START < END and SHRINK from 1 up, for example "
                f"street.mp4@24:72/2, got {text!r}"
            )
        return cls(Path(found["path"]), start, stop, shrink)

    def __str__(self) -> str:
        """What `parse` reads, without the folder."""
        start, stop = ("" if bound is None else str(bound) for bound in (self.start, self.stop))
        shrink = "" if self.shrink is None else f"/{self.shrink}"
        return self.path.name + (f"@{start}:{stop}{shrink}" if start or stop or shrink else "")

    @property
    def stem(self) -> str:
        """A name for files that are made of it."""
        bounds = "" if self.start is None and self.stop is None else f"-{self.start or 0}-{self.stop or 'end'}"
        return self.path.stem + bounds

    def read(self, frames: int | None = None) -> "Footage":
        """The clip, or its first `frames`: made small, and cut at the right and below to multiples of `MULTIPLE`.

        Raises: UserError if it cannot be read, is too small, or nothing moves in it.
        """
        stop = self.stop if frames is None else min((self.start or 0) + frames, self.stop or (self.start or 0) + frames)
        with VideoReader(self.path, self.start, stop) as reader:
            shrink = self.shrink or -(-max(reader.size) // LONG_SIDE)
            height, width = (length // shrink // MULTIPLE * MULTIPLE for length in reader.size)
            if min(height, width) < SMALLEST:
                raise UserError(
                    f"{self} is {reader.size[1]}x{reader.size[0]}, after a reduction by {shrink} smaller than "
                    f"{SMALLEST} pixels: name a larger clip, or a smaller factor"
                )
            small = torch.stack([area_average(frame, shrink)[:, :height, :width] for frame in reader])
        footage = Footage(str(self), small, reader.frame_rate)
        if not footage.moving.any():
            raise UserError(f"nothing moves in {self}, {len(small)} frames: name another clip or range")
        return footage


class Footage(NamedTuple):
    """A clip in memory: its name, frames (N, 3, H, W) in [0, 1], and how many of them make a second."""

    name: str
    frames: Tensor
    frame_rate: Fraction

    @property
    def moving(self) -> Tensor:
        """(N-1,) boolean: whether frame j, entry j-1, is another than the one before it."""
        return (self.frames[1:] - self.frames[:-1]).abs().mean((1, 2, 3)) >= REPEAT

    def __str__(self) -> str:
        height, width = self.frames.shape[-2:]
        repeated = int((~self.moving).sum())
        return f"{self.name}: {len(self.frames)} frames of {width}×{height}, {repeated or 'none'} of them repeated"


def chosen(clips: Sequence[RealClip]) -> list[RealClip]:
    """The clips asked for, or the one that ships.   Raises: UserError if two have one name."""
    clips = list(clips) or [RealClip(SAMPLE)]
    names = [clip.stem for clip in clips]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise UserError(f"two clips are called {name}: give each once, and files of their own names")
    return clips


def reduced(frames: Tensor, factor: int) -> Tensor:
    """What a file of the reduced clip would hold: the task's degradation, in 8 bits; the frames as they are for 1."""
    return frames if factor == 1 else (degrade(frames, "super-resolution", factor) * 255).round() / 255
