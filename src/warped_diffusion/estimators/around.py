"""The motion of what surrounds holes: a hole moves with its background, whatever it covers does."""

import torch
from torch import Tensor

from warped_diffusion.estimators.estimate import estimate_pair
from warped_diffusion.flow import carry, displacement, identity_map, resize_values, visibility
from warped_diffusion.masks import dilate
from warped_diffusion.tasks import smooth_fill

MARGIN = 6.0
"""Pixels around a hole where flow is not believed: DIS matches patches of 8 pixels, which see the hole's edge."""


def estimate_around(
    earlier: Tensor,
    later: Tensor,
    holes: tuple[Tensor, Tensor],
    size: tuple[int, int],
    estimator: str = "auto",
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The motion between two frames with holes; within and close to these, a smooth fill of the flow around them.

    A pixel's flow is filled where it begins or ends in a hole.

    Args:
        earlier, later: (3, h, w) in [0, 1], their holes smoothly filled.
        holes: of the two, (1, h, w), positive in the holes.
        size: (height, width) of the grid wanted.
        estimator: a name in `ESTIMATORS`, or "auto".
    Returns: (forward, backward, visible, known) as in `Motion`, and where the flow was filled, of 0 and 1, on the
        earlier frame's grid and on the later's: (H, W) each.
    Raises: as `estimate_pair`.
    """
    forward, backward, *_ = estimate_pair(earlier, later, size, estimator)
    before, after = (dilate((resize_values(hole, size) > 0).float(), MARGIN) for hole in holes)
    forward, left = _filled(forward, before, after)
    backward, came = _filled(backward, after, before)
    return forward, backward, *visibility(forward, backward), left, came


def _filled(positions: Tensor, here: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """The map without what holes say of it, and where that was; `here` on its own grid, `there` on that it leads to."""
    positions = _fill(positions, here)
    gone = ((here[0] > 0) | (carry(there[0], positions) > 0)).float()
    return _fill(positions, gone[None]), gone


def _fill(positions: Tensor, hole: Tensor) -> Tensor:
    """(H, W, 2), (1, H, W) -> (H, W, 2): displacements continued smoothly into the hole; none where nothing is known.

    A membrane has no slope at the frame's edge, so a zoom would come to a halt in a hole there: what is filled is the
    difference to the affine motion that fits the known part best.
    """
    if not hole.any():
        return positions
    height, width = positions.shape[:2]
    known = hole[0] <= 0
    pixels = identity_map(height, width, positions.device, positions.dtype)
    moved = displacement(positions)
    affine = torch.zeros_like(moved)
    if known.sum() > 8:
        basis = torch.cat([pixels / max(height, width) - 0.5, torch.ones_like(pixels[..., :1])], -1)
        solved = torch.linalg.lstsq(basis[known].cpu(), moved[known].cpu(), driver="gelsd").solution
        affine = basis @ solved.to(moved)
    rest = smooth_fill((moved - affine).movedim(-1, 0)[None], hole[None])[0].movedim(0, -1)
    return torch.where(known[..., None], positions, pixels + affine + rest)
