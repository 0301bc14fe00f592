"""Films inside a page: all frames of a clip as one picture, which a page can show frame by frame, exactly and in step."""

import base64
import math
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from warped_diffusion.errors import ShapeError

BLOCK = 16
"""WebP codes blocks of this many pixels: cells end on their edges, so that no frame bleeds into its neighbour."""

LARGEST = 16_383
"""Pixels: the longest side that a WebP picture can have."""


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
    """A sheet of frames, left to right and then down.

    Attributes:
        source: the sheet as a data URI.
        frames: how many there are.
        columns: frames in a row of the sheet.
        width, height: of a frame, pixels.
        cell: width and height of a frame's place in the sheet; the frame lies in its upper left corner.
        reduced: frames were made smaller than they are.
    """

    source: str
    frames: int
    columns: int
    width: int
    height: int
    cell: tuple[int, int]
    reduced: bool

    def record(self) -> dict[str, Any]:
        """Its attributes, to be written as JSON."""
        return asdict(self)


def make_film(frames: np.ndarray, level: Level) -> Film:
    """The frames as one WebP picture.

    Args:
        frames: (N, H, W, 3) uint8, RGB, at least one.

    Raises: ShapeError for another shape or type, or for more frames than a sheet holds.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape or frames.dtype != np.uint8:
        raise ShapeError(f"expected frames (N, H, W, 3) of uint8, got {frames.shape} of {frames.dtype}")
    full = max(frames.shape[1:3])
    scale = min(1.0, level.side / full)
    width, height = (max(1, round(scale * side)) for side in (frames.shape[2], frames.shape[1]))
    cell = (_whole_blocks(width), _whole_blocks(height))
    columns = min(len(frames), max(1, math.ceil(math.sqrt(len(frames) * cell[1] / cell[0]))))
    rows = math.ceil(len(frames) / columns)
    if max(columns * cell[0], rows * cell[1]) > LARGEST:
        raise ShapeError(f"{len(frames)} frames of {width}x{height} do not fit into a picture of {LARGEST} pixels a side")
    sheet = np.zeros((rows * cell[1], columns * cell[0], 3), np.uint8)
    for j, frame in enumerate(frames):
        x, y = j % columns * cell[0], j // columns * cell[1]
        sheet[y : y + cell[1], x : x + cell[0]] = _padded(_sized(frame, width, height), cell)
    _, data = cv2.imencode(".webp", sheet[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, level.quality])
    source = "data:image/webp;base64," + base64.b64encode(data.tobytes()).decode()
    return Film(source, len(frames), columns, width, height, cell, scale < 1)


def _whole_blocks(side: int) -> int:
    return math.ceil(side / BLOCK) * BLOCK


def _sized(frame: np.ndarray, width: int, height: int) -> np.ndarray:
    if frame.shape[:2] == (height, width):
        return frame
    return np.asarray(cv2.resize(np.ascontiguousarray(frame), (width, height), interpolation=cv2.INTER_AREA))


def _padded(frame: np.ndarray, cell: tuple[int, int]) -> np.ndarray:
    margins = ((0, cell[1] - frame.shape[0]), (0, cell[0] - frame.shape[1]), (0, 0))
    return np.pad(frame, margins, "edge")
