"""Which way up a picture is shown: turned or mirrored, as the file says that the camera was held."""

import numpy as np
from av import VideoFrame
from av.sidedata.sidedata import Type

OF_PNG = frozenset({"gray", "gray16be", "monob", "pal8", "rgb24", "rgb48be", "rgba", "rgba64be", "ya8", "ya16be"})
"""Pixel formats that PNG is decoded to. A colour profile in it has a name, and side data that has one is freed twice by
PyAV up to 18.1 at least: its frames' side data must not be looked at."""


def display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """(a, b, c, d) of -1, 0 and 1: the stored pixel (x, y) is shown at (a x + c y, b x + d y), up to a shift.

    What is between quarter turns is taken as the nearest one. Of PNG mirroring is not seen.
    """
    quarters = ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))[round(frame.rotation / 90) % 4]
    if frame.format.name in OF_PNG:
        return quarters
    try:
        entry = frame.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]
    except ValueError:  # PyAV has no name for some side data that the frame has beside it, as of EXIF
        return quarters
    if entry is None:
        return 1, 0, 0, 1
    values = np.frombuffer(entry, np.int32).reshape(3, 3)[:2, :2].astype(float)
    if abs(values[0, 0]) >= abs(values[0, 1]):
        return (-1 if values[0, 0] < 0 else 1), 0, 0, (-1 if values[1, 1] < 0 else 1)
    return 0, (-1 if values[0, 1] < 0 else 1), (-1 if values[1, 0] < 0 else 1), 0


def turned(frame: VideoFrame) -> bool:
    """Whether width and height change places."""
    return display_matrix(frame)[0] == 0


def upright(picture: np.ndarray, frame: VideoFrame) -> np.ndarray:
    """(H, W, ...) as stored -> (H', W', ...) as shown."""
    a, b, c, d = display_matrix(frame)
    if a == 0:
        picture = picture.swapaxes(0, 1)
    return picture[:: b + d, :: a + c]
