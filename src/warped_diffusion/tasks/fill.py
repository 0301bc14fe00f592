"""Holes smoothly filled, and what was restored in them laid over the input."""

import torch
import torch.nn.functional as F
from torch import Tensor


def smooth_fill(pictures: Tensor, mask: Tensor, sweeps: int = 8) -> Tensor:
    """Holes spanned by a membrane that is fixed at their rims, Laplace's equation: smooth, and without a seam.

    From coarse to fine: each resolution, whose pixels are the means of what is known beneath them, gives the next one
    its first guess, and some sweeps of damped Jacobi take that guess to the finer rim. What lies outside the frame
    pulls nowhere.

    Args:
        pictures: (B, C, H, W); what is in the holes is not looked at.
        mask: (B, 1, H, W), 1 in the holes.
        sweeps: of relaxation, at every resolution.
    Returns: (B, C, H, W); 0 where nothing is known of a picture.
    """
    hole = mask > 0
    size = pictures.shape[-2:]
    known = (~hole).to(pictures.dtype)
    if max(size) == 1:
        return pictures * known
    odd = (0, size[1] % 2, 0, size[0] % 2)
    beneath = F.avg_pool2d(F.pad(known, odd), 2)
    means = F.avg_pool2d(F.pad(pictures.masked_fill(hole, 0), odd), 2) / beneath.clamp(min=0.25)
    coarse = smooth_fill(means, (beneath == 0).to(known.dtype), sweeps)
    guess = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)[..., : size[0], : size[1]]
    for _ in range(sweeps):
        filled = torch.where(hole, guess, pictures)
        guess = filled + 0.8 * (_neighbours(filled) - filled)  # 0.8 damps every wave that the coarser grid cannot hold
    return torch.where(hole, guess, pictures)


def _neighbours(x: Tensor) -> Tensor:
    """The mean of the four nearest pixels; beyond the frame its edge goes on."""
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return (x[..., 1:-1, :-2] + x[..., 1:-1, 2:] + x[..., :-2, 1:-1] + x[..., 2:, 1:-1]) / 4


def composite(pictures: Tensor, restored: Tensor, alpha: Tensor) -> Tensor:
    """The restored frame over the input: exactly the input where alpha is 0, exactly the restored frame where it is 1.

    (..., 3, H, W) each, alpha (..., 1, H, W) in [0, 1], to be 0 wherever the condition's mask is.
    """
    blend = pictures + alpha * (restored - pictures)
    return torch.where(alpha >= 1, restored, torch.where(alpha <= 0, pictures, blend))
