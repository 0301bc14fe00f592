"""Maps: for every pixel of one grid, a position in another picture.

A map is a tensor `(..., H, W, 2)` of absolute positions in pixels, x right and y down, pixel centres at the integers.
Its displacement is the map minus the identity; beyond the frame the displacement of the nearest edge pixel holds.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from warped_diffusion.errors import ShapeError


def identity_map(
    height: int, width: int, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """The map that leaves every pixel where it is: (H, W, 2), out[y, x] = (x, y)."""
    y = torch.arange(height, device=device, dtype=dtype)
    x = torch.arange(width, device=device, dtype=dtype)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def displacement(positions: Tensor) -> Tensor:
    """How far a map moves each pixel: the map minus the identity, (..., H, W, 2), pixels."""
    check_map(positions)
    height, width = positions.shape[-3:-1]
    return positions - identity_map(height, width, positions.device, positions.dtype)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    r"""Positions reached by following `inner`, then `outer`: out(x) = outer(inner(x)).   [paper, App. 13.1]

    Between pixels the displacement of `outer` is interpolated bilinearly, so affine maps compose without error.

    Args:
        outer, inner: (..., H, W, 2) absolute positions, pixels, (x right, y down), pixel centres at integers.
    Returns: (..., H, W, 2), dtype of `outer`. Beyond the frame the displacement of the nearest edge pixel holds.
    Raises: ShapeError if the two grids differ.
    """
    check_map(inner, "inner")
    if outer.shape[-3:] != inner.shape[-3:]:
        raise ShapeError(
            f"compose expects two maps on one grid, outer is {tuple(outer.shape)} and inner is {tuple(inner.shape)}: "
            "bring one to the other's size with resize_map"
        )
    inner = inner.to(outer.dtype)
    moved = interpolate(displacement(outer).movedim(-1, -3), inner)
    return inner + moved.movedim(-3, -1)


def extend_map(positions: Tensor, margins: tuple[int, int, int, int]) -> Tensor:
    """A map continued beyond its edges, where the displacement of the nearest edge pixel holds.

    Args:
        positions: (H, W, 2).
        margins: pixels to add (left, right, top, bottom).
    Returns: (top + H + bottom, left + W + right, 2), still in the coordinates of the first grid.
    """
    left, _, top, _ = margins
    moved = F.pad(displacement(positions).movedim(-1, 0)[None], margins, mode="replicate")[0].movedim(0, -1)
    height, width = moved.shape[:2]
    return identity_map(height, width, moved.device, moved.dtype) - moved.new_tensor([left, top]) + moved


def interpolate(values: Tensor, positions: Tensor) -> Tensor:
    """Values of a smooth field at the positions: bilinear, the nearest edge pixel's value beyond the frame.

    For fields (displacements, visibilities). Pictures are sampled by `flow.kernels`, which aliases less and blurs less.

    Args:
        values: (..., C, h, w).
        positions: (..., H, W, 2) pixels of the values' grid; leading dimensions broadcast against those of `values`.
    Returns: (..., C, H, W), dtype of `values`.
    """
    lead = torch.broadcast_shapes(values.shape[:-3], positions.shape[:-3])
    height, width = values.shape[-2:]
    if math.prod(lead) == 0:
        return values.new_zeros(*lead, values.shape[-3], *positions.shape[-3:-1])
    # grid_sample wants -1 and 1 at the outermost pixel centres; a grid of one pixel has both at 0.
    span = positions.new_tensor([max(width - 1, 1), max(height - 1, 1)])
    grid = (2 * positions / span - 1).to(values.dtype)
    sampled = F.grid_sample(
        values.expand(*lead, *values.shape[-3:]).reshape(-1, *values.shape[-3:]),
        grid.expand(*lead, *grid.shape[-3:]).reshape(-1, *grid.shape[-3:]),
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )
    return sampled.reshape(*lead, *sampled.shape[-3:])


def resize_map(positions: Tensor, size: tuple[int, int]) -> Tensor:
    """The same motion on another grid over the same picture.

    A coarse cell i covers the pixels f i ... f i + f - 1, so a position p becomes (p + 1/2) / f - 1/2. The
    *displacement* is averaged over the cell (averaging absolute positions is off by 1/2 - 1/(2 f)); towards a finer
    grid it is interpolated bilinearly. Each axis has its own factor, which need not be whole.

    Args:
        positions: (..., H, W, 2) pixels of the present grid.
        size: (height, width) of the wanted grid.
    Returns: (*..., *size, 2) pixels of the wanted grid.
    """
    height, width = positions.shape[-3:-1]
    if (height, width) == tuple(size):
        return positions
    moved = resize_values(displacement(positions).movedim(-1, -3), size).movedim(-3, -1)
    ratio = positions.new_tensor([size[1] / width, size[0] / height])
    return identity_map(*size, device=positions.device, dtype=positions.dtype) + moved * ratio


def resize_values(values: Tensor, size: tuple[int, int]) -> Tensor:
    """A field on another grid: area averages where that is coarser, bilinear where it is finer, axis by axis.

    Args:
        values: (..., H, W).
        size: (height, width) of the wanted grid, both at least 1.
    Returns: (*..., *size).
    Raises: ShapeError if `size` is not two positive whole numbers.
    """
    if len(size) != 2 or any(int(n) != n or n < 1 for n in size):
        raise ShapeError(f"size is {tuple(size)}: give (height, width), whole numbers of at least 1")
    height, width = values.shape[-2:]
    if size[0] < height:
        values = _averaging(height, size[0], values) @ values
    if size[1] < width:
        values = values @ _averaging(width, size[1], values).mT
    if tuple(values.shape[-2:]) == tuple(size) or values.numel() == 0:
        return values.reshape(*values.shape[:-2], *size)
    lead = values.shape[:-2]
    flat = values.reshape(-1, 1, *values.shape[-2:])
    return F.interpolate(flat, size=tuple(size), mode="bilinear", align_corners=False).reshape(*lead, *size)


def jacobian(positions: Tensor) -> Tensor:
    """The map's derivative by central differences (one-sided at the border): (..., H, W, 2, 2).

    out[..., a, b] is the change of coordinate a of the position per pixel along axis b, both in the order (x, y). Along
    an axis of a single pixel the derivative is that of the identity.
    """
    moved = displacement(positions)
    slopes = []
    for axis in (-2, -3):
        along = torch.gradient(moved, dim=axis)[0] if moved.shape[axis] > 1 else torch.zeros_like(moved)
        slopes.append(along)
    return torch.stack(slopes, dim=-1) + torch.eye(2, device=positions.device, dtype=positions.dtype)


def jacobian_scale(positions: Tensor) -> Tensor:
    """Local scale of the map, sqrt|det d positions / d pixel|: (..., H, W); above 1 where sampling there decimates."""
    return torch.linalg.det(jacobian(positions)).abs().sqrt()


def frame_weight(positions: Tensor, size: tuple[int, int]) -> Tensor:
    """How much of a position lies in a frame of `size` (height, width): (..., H, W) in [0, 1].

    1 up to the outermost pixel centres, 0 from the frame's border (half a pixel further out) on, linear between; 0 for
    a position that is not a number.
    """
    last = positions.new_tensor([size[1] - 1, size[0] - 1])
    beyond = (positions.clamp(min=0).minimum(last) - positions).abs().amax(dim=-1)
    return (1 - 2 * beyond).clamp(min=0).nan_to_num(nan=0.0)


def check_map(positions: Tensor, name: str = "positions") -> None:
    """Raise ShapeError unless the tensor is a map, (..., H, W, 2) of a floating type."""
    if positions.dim() < 3 or positions.shape[-1] != 2 or not positions.is_floating_point():
        raise ShapeError(
            f"{name} is {tuple(positions.shape)} {positions.dtype}: "
            "give floating (..., H, W, 2), absolute (x, y) in pixels"
        )


def _averaging(fine: int, coarse: int, like: Tensor) -> Tensor:
    """(coarse, fine) matrix of area averages: the overlap of every coarse cell with every fine one, per coarse cell."""
    factor = fine / coarse
    start = torch.arange(coarse, dtype=torch.float64)[:, None] * factor
    pixel = torch.arange(fine, dtype=torch.float64)[None, :]
    overlap = (torch.minimum(start + factor, pixel + 1) - torch.maximum(start, pixel)).clamp(min=0)
    return (overlap / factor).to(like)
