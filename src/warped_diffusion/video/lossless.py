"""A few frames in a file, exactly: what a restoration keeps of its finished frames until the clip is whole."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from av import VideoFrame

LEVELS: dict[int, np.dtype[Any]] = {8: np.dtype(np.uint8), 16: np.dtype(np.uint16)}
"""Bits of a sample and the numbers that hold them."""

FORMATS = {8: ("rgb24", "bgr0"), 16: ("gbrp16le", "gbrp16le")}
"""By bits: how frames are given, and how FFV1 holds them."""


def write_lossless(path: Path, frames: Sequence[np.ndarray]) -> None:
    """Write frames (H, W, 3), all uint8 or all uint16, as FFV1.   Raises: OSError (also FFmpeg's) if it cannot."""
    bits = 8 * frames[0].dtype.itemsize
    given, held = FORMATS[bits]
    with av.open(path, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=25, options={"level": "3", "slicecrc": "1"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = held
        for frame in frames:
            picture = VideoFrame.from_ndarray(np.ascontiguousarray(frame), format=given)
            container.mux(stream.encode(picture.reformat(format=held)))
        container.mux(stream.encode(None))


def read_lossless(path: Path) -> Iterator[np.ndarray]:
    """The frames again.   Raises: OSError (also FFmpeg's) if they cannot be read."""
    with av.open(path) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format=FORMATS[frame.format.components[0].bits][0])
