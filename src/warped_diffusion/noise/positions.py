"""Positions as the noise schemes take them: checked, and read item by item."""

from collections.abc import Callable

import torch
from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError

FAR = 1e9
"""Pixels: positions further away are taken to be this far, where float64 still tells a millionth of a pixel."""


def check_shape(positions: Tensor, size: tuple[int, int] | None = None) -> None:
    """Raise ShapeError unless the positions are (..., H, W, 2), with (H, W) = `size` where that is given."""
    if positions.ndim < 3 or positions.shape[-1] != 2:
        raise ShapeError(f"positions have shape {tuple(positions.shape)}, expected (..., H, W, 2)")
    if size is not None and tuple(positions.shape[-3:-1]) != tuple(size):
        raise ShapeError(
            f"positions have shape {tuple(positions.shape)}, expected (..., {size[0]}, {size[1]}, 2), one per pixel"
        )


def check_finite(positions: Tensor) -> None:
    """Raise UserError if a position is infinite or not a number."""
    lost = ~positions.isfinite().all(-1)
    if lost.any():
        raise UserError(f"{int(lost.sum())} of {lost.numel()} positions are not finite: check the motion behind them")


def item_by_item(read: Callable[[Tensor], Tensor], positions: Tensor, channels: int) -> Tensor:
    """A batch of maps read one after the other, so that only the result grows with their number.

    Args:
        read: a map (H, W, 2), float64 on the CPU -> its noise (channels, H, W).
        positions: (..., H, W, 2).
    Returns: (..., channels, H, W) float32 on the positions' device.
    """
    *lead, height, width, _ = positions.shape
    noise = torch.empty(*lead, channels, height, width, device=positions.device)
    # Flattened by hand: where there are no items at all, -1 could be any number.
    count = noise[..., 0, 0, 0].numel()
    items = positions.detach().reshape(count, height, width, 2)
    for item, target in zip(items, noise.view(count, channels, height, width), strict=True):
        target.copy_(read(item.cpu().double().clamp(-FAR, FAR)))
    return noise
