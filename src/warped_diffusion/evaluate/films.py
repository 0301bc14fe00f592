"""Films inside a page: every frame a picture of its own, so that a page can show any of them exactly and in step.

A video would be smaller, but no browser promises which of its frames it shows; and frames on one large picture would
bleed into one another, as colour is coded at half the resolution.
"""

import base64
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from warped_diffusion.errors import ShapeError


@dataclass(frozen=True)
class Level:
    """How much of a film is kept.

    Attributes:
        quality: of WebP, 1 to 100.
        side: pixels that a frame's longer side has at most.
    """

    quality: int
    side: int


LEVELS = (Level(90, 512), Level(80, 512), Level(75, 384), Level(70, 256), Level(60, 128))
"""From the best to the smallest."""


@dataclass(frozen=True)
class Film:
    """A clip inside a page.

    Attributes:
        frames: each as a data URI.
        width, height: of a frame, pixels.
        reduced: frames were made smaller than they are.
    """

    frames: tuple[str, ...]
    width: int
    height: int
    reduced: bool

    @property
    def length(self) -> int:
        """Characters that its frames take in a page."""
        return sum(map(len, self.frames))

    def record(self) -> dict[str, Any]:
        """Its attributes, to be written as JSON."""
        return asdict(self)


def make_film(frames: np.ndarray, level: Level) -> Film:
    """The frames as WebP pictures.

    Args:
        frames: (N, H, W, 3) uint8, RGB, at least one.

    Raises: ShapeError for another shape or type.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape or frames.dtype != np.uint8:
        raise ShapeError(f"expected frames (N, H, W, 3) of uint8, got {frames.shape} of {frames.dtype}")
    scale = min(1.0, level.side / max(frames.shape[1:3]))
    width, height = (max(1, round(scale * side)) for side in (frames.shape[2], frames.shape[1]))
    return Film(tuple(_encoded(frame, (width, height), level.quality) for frame in frames), width, height, scale < 1)


def _encoded(frame: np.ndarray, size: tuple[int, int], quality: int) -> str:
    picture = np.ascontiguousarray(frame[..., ::-1])
    if size != (frame.shape[1], frame.shape[0]):
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    _, data = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, quality])
    return "data:image/webp;base64," + base64.b64encode(data.tobytes()).decode()
