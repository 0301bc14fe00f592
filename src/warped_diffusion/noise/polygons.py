"""The picture's pixels as polygons: where a map takes their outlines, and which points of a grid lie inside."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from warped_diffusion.flow.maps import displacement, identity_map

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def pixel_outlines(positions: Tensor) -> Tensor:
    """The four corners of every pixel, half a pixel from its centre, where the map takes them.

    A corner's displacement is the mean of that of the four pixels which meet there. The frame's own border is half a
    pixel beyond the last centres, and displacements go on linearly up to it: were they held, an edge pixel of a
    mirrored picture would have no area. So affine maps are exact. Neighbours share their corners, so that their
    outlines leave no gap.

    Args:
        positions: (H, W, 2), pixels.
    Returns: (4, 2, H, W): corners in order around the pixel, (x, y).
    """
    moved = _one_more(_one_more(displacement(positions).movedim(-1, 0), 1), 2)
    height, width = positions.shape[:2]
    corner = identity_map(height + 1, width + 1, dtype=positions.dtype).movedim(-1, 0) - 0.5
    corner = corner + F.avg_pool2d(moved, 2, stride=1)
    return torch.stack([corner[:, :-1, :-1], corner[:, :-1, 1:], corner[:, 1:, 1:], corner[:, 1:, :-1]])


def _one_more(values: Tensor, axis: int) -> Tensor:
    """Values with one more at both ends of an axis, linearly extrapolated; the only one there is holds."""
    last = values.shape[axis] - 1
    first, second, penultimate, final = (values.narrow(axis, i, 1) for i in (0, min(1, last), max(last - 1, 0), last))
    return torch.cat([2 * first - second, values, 2 * final - penultimate], dim=axis)


def points_inside(outlines: Array) -> tuple[Indices, Indices, Indices]:
    """The points with whole coordinates inside each quadrilateral, by the even-odd rule, row by row.

    A folded or crossed outline encloses what an odd number of its edges lie left of. Points on an edge belong to one
    side only, and to the same one for both neighbours: outlines without overlap never share a point.

    Args:
        outlines: (4, 2, N) finite, of bounded extent: the work grows with their area.
    Returns: x, y: (M,) of the points, ordered by outline; count: (N,) points inside each.
    """
    first = np.ceil(outlines[:, 1].min(0)).astype(np.int64)
    rows = np.ceil(outlines[:, 1].max(0)).astype(np.int64) - first
    owner, step = _runs(rows)
    y = first[owner] + step
    # Of four edges none, two or four cross a row: up to two spans, the missing ones at infinity.
    ends = np.sort(_crossings(outlines, owner, y), axis=1)
    spans = np.where(np.isfinite(ends), np.ceil(ends), 0).astype(np.int64)
    length = (spans[:, 1::2] - spans[:, 0::2]).ravel()
    span, step = _runs(length)
    x = spans[:, 0::2].ravel()[span] + step
    count = np.bincount(np.repeat(owner, 2), weights=length, minlength=outlines.shape[-1]).astype(np.int64)
    return x, y[span // 2], count


def _crossings(outlines: Array, owner: Indices, y: Indices) -> Array:
    """Where the four edges of outline `owner` cross the row y: (R, 4), infinity for those that do not."""
    crossings = np.full((len(y), 4), np.inf)
    for edge, (start, end) in enumerate(zip(outlines, np.roll(outlines, -1, axis=0), strict=True)):
        # From the upper end to the lower one whichever way round the outline goes: neighbours round alike.
        upper, lower = np.where(start[1] <= end[1], (start, end), (end, start))
        drop = lower[1] - upper[1]
        slope = (lower[0] - upper[0]) / np.where(drop > 0, drop, 1)
        below = y - upper[1][owner]
        crossed = (below >= 0) & (y < lower[1][owner])
        crossings[crossed, edge] = (upper[0][owner] + below * slope[owner])[crossed]
    return crossings


def _runs(length: Indices) -> tuple[Indices, Indices]:
    """Runs of those lengths end to end: the run that each element belongs to, and its place there."""
    run = np.repeat(np.arange(len(length)), length)
    return run, np.arange(len(run)) - np.repeat(np.cumsum(length) - length, length)
