"""Frames drawn beside each other with labels, for comparisons and documents."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError

GAP = 4
"""Pixels between pictures."""
PAPER = 0.09
INK = 0.92
"""Levels of the background and of the text."""
FONT = cv2.FONT_HERSHEY_SIMPLEX


def side_by_side(frames: Sequence[Tensor], labels: Sequence[str]) -> Tensor:
    """Frames in a row, each under its label on a dark strip; both sides even, as video wants them.

    Args:
        frames: (3, H, W) in [0, 1], of one height.
        labels: one for each frame.
    Returns: (3, H', W') float32, H' a little over H for the labels.
    Raises: ShapeError if heights differ or the labels do not match.
    """
    return _even(film_strip([frames], column_labels=labels))


def film_strip(
    rows: Sequence[Sequence[Tensor]], row_labels: Sequence[str] = (), column_labels: Sequence[str] = ()
) -> Tensor:
    """A grid of frames with labels to the left of its rows and above its columns.

    Args:
        rows: rows of frames (3, H, W) in [0, 1]; every row has the same number of frames, of the same sizes.
        row_labels, column_labels: one for each, or none.
    Returns: (3, H', W') float32.
    Raises: ShapeError if the rows differ or the labels do not match.
    """
    _require_grid(rows, row_labels, column_labels)
    height = rows[0][0].shape[-2]
    text = max(10, min(height // 12, 22))
    head = 2 * text if column_labels else 0
    margin = max(_width(label, text) for label in row_labels) + 4 * GAP if row_labels else 0
    lefts = [margin]
    for frame in rows[0]:
        lefts.append(lefts[-1] + frame.shape[-1] + GAP)
    sheet = torch.full((3, head + len(rows) * (height + GAP) - GAP, lefts[-1] - GAP), PAPER)
    for i, row in enumerate(rows):
        top = head + i * (height + GAP)
        for left, frame in zip(lefts, row, strict=False):
            sheet[:, top : top + height, left : left + frame.shape[-1]] = frame.detach().cpu()
        if row_labels:
            _draw(sheet[:, top : top + height, :margin], row_labels[i], text)
    text = min(
        (_fitting(label, text, f.shape[-1]) for label, f in zip(column_labels, rows[0], strict=False)), default=text
    )
    for left, frame, label in zip(lefts, rows[0], column_labels, strict=False):
        _draw(sheet[:, :head, left : left + frame.shape[-1]], label, text)
    return sheet


def write_picture(path: str | Path, picture: Tensor) -> None:
    """Save a picture (3, H, W) in [0, 1] as PNG.   Raises: UserError if the file cannot be written."""
    levels = (picture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    _, data = cv2.imencode(".png", np.ascontiguousarray(levels.permute(1, 2, 0).numpy()[..., ::-1]))
    try:
        Path(path).write_bytes(data.tobytes())
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error


def _require_grid(rows: Sequence[Sequence[Tensor]], row_labels: Sequence[str], column_labels: Sequence[str]) -> None:
    shapes = [[tuple(frame.shape) for frame in row] for row in rows]
    if not shapes or not shapes[0]:
        raise ShapeError("there are no frames to draw: give at least one row of one frame")
    if any(len(shape) != 3 or shape[0] != 3 or shape[1] != shapes[0][0][1] for row in shapes for shape in row):
        raise ShapeError(f"frames should be (3, H, W) of one height, got {shapes}")
    if any(row != shapes[0] for row in shapes):
        raise ShapeError(f"rows should be alike, got {shapes}")
    for name, labels, count in (("row", row_labels, len(rows)), ("column", column_labels, len(rows[0]))):
        if labels and len(labels) != count:
            raise ShapeError(f"got {len(labels)} {name} labels for {count} {name}s: give one for each, or none")


def _even(picture: Tensor) -> Tensor:
    height, width = picture.shape[-2:]
    return torch.nn.functional.pad(picture, (0, width % 2, 0, height % 2), value=PAPER)


def _width(label: str, height: int) -> int:
    """Pixels that a label takes with letters `height` pixels high."""
    return int(cv2.getTextSize(label, FONT, _scale(height), 1)[0][0])


def _fitting(label: str, height: int, room: int) -> int:
    """How high the letters may be, `height` at most, for a label to fit into `room` pixels."""
    while height > 1 and _width(label, height) > room - 2 * GAP:
        height -= 1
    return height


def _scale(height: int) -> float:
    return float(cv2.getFontScaleFromHeight(FONT, height, 1))


def _draw(place: Tensor, label: str, height: int) -> None:
    """Write a label into the middle of `place` (3, h, w)."""
    canvas = np.zeros(place.shape[-2:], np.uint8)
    left = (place.shape[-1] - _width(label, height)) // 2
    baseline = (place.shape[-2] + height) // 2
    cv2.putText(canvas, label, (left, baseline), FONT, _scale(height), 255, 1, cv2.LINE_AA)
    place += torch.from_numpy(canvas).float() / 255 * (INK - place)
