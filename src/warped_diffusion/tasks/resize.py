"""Pictures reduced by whole factors, and enlarged again."""

import torch.nn.functional as F
from torch import Tensor

from warped_diffusion.errors import ShapeError


def area_average(pictures: Tensor, factor: int) -> Tensor:
    """The mean of every factor x factor block: (..., C, H, W) -> (..., C, H // factor, W // factor).

    Rows and columns that do not fill a block are cut off.   Raises: ShapeError if there is not one whole block.
    """
    height, width = pictures.shape[-2:]
    if height < factor or width < factor:
        raise ShapeError(
            f"frames are {width}x{height}, smaller than one block of {factor}x{factor}: use a smaller scale"
        )
    pictures = pictures[..., : height // factor * factor, : width // factor * factor]
    flat = F.avg_pool2d(pictures.reshape(-1, *pictures.shape[-3:]), factor)
    return flat.reshape(*pictures.shape[:-2], *flat.shape[-2:])


def enlarge(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic enlargement (a = -0.5), half-pixel centres: (B, C, h, w) -> (B, C, *size)."""
    return F.interpolate(pictures, size=size, mode="bicubic", align_corners=False, antialias=True)


def back_project(pictures: Tensor, factor: int, rounds: int = 3) -> Tensor:
    """Enlarged so that its area average is the input again: bicubic, and what the average misses added, a few times.

    (Irani and Peleg, 1991.) (B, C, h, w) -> (B, C, h factor, w factor); values may leave the input's range a little.
    """
    size = (pictures.shape[-2] * factor, pictures.shape[-1] * factor)
    enlarged = enlarge(pictures, size)
    for _ in range(rounds):
        enlarged = enlarged + enlarge(pictures - area_average(enlarged, factor), size)
    return enlarged
