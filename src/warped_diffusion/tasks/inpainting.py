"""Inpainting: frames of which a part is missing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from warped_diffusion.diffusion.operators import Mask, Operator
from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.masks import depth
from warped_diffusion.tasks.fill import smooth_fill


@dataclass(frozen=True)
class Inpainting:
    """Frames of which a part is missing: the mask, 1 in the holes, says which."""

    name: ClassVar[str] = "inpainting"
    takes_mask: ClassVar[bool] = True
    # A video frame is softer than the photographs that the network learned from, and a fill must not stand out. Its
    # high-frequency energy is .5 to 1.4 times that of what the hole covers in the sample clip, and 1.3 to 2.8 with 1.
    detail: ClassVar[float] = 0.8
    noise: ClassVar[float] = 0.0

    def degrade(self, pictures: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mid grey in the holes; the mask is broadcast over leading dimensions."""
        hole = _demand(mask, pictures)
        return torch.where(hole, pictures.new_tensor(0.5), pictures)

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size

    def condition(self, pictures: Tensor, mask: Tensor | None = None) -> Mapping[str, Tensor]:
        """What is known, smoothly continued, and how far from it each pixel is. A mask may be soft: positive is a hole.

        `picture`: (B, 3, H, W) in [-1, 1], the input where it is known, in the holes its `smooth_fill`, and mid grey,
        0, where the hole is the whole frame; `mask`: (B, 1, H, W), 0 or 1; `depth`: (B, 1, H, W), distance to the
        nearest known pixel, 0 outside the holes.
        """
        hole = _demand(mask, pictures)
        mask = hole.to(pictures.dtype).expand(len(pictures), -1, -1, -1)
        return {"picture": smooth_fill(pictures * 2 - 1, mask), "mask": mask, "depth": depth(mask)}

    def agree(self, estimates: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Outside the holes the input itself."""
        return torch.where(condition["mask"] > 0, estimates, condition["picture"])

    def operator(self, condition: Mapping[str, Tensor]) -> Operator:
        return Mask(1 - condition["mask"])


def _demand(mask: Tensor | None, pictures: Tensor) -> Tensor:
    """Where the holes are, as booleans.   Raises: UserError without a mask, ShapeError if it is not the pictures'."""
    if mask is None:
        raise UserError("inpainting needs a mask, 1 where the frame is to be filled in: give one")
    if mask.ndim < 3 or mask.shape[-3] != 1 or mask.shape[-2:] != pictures.shape[-2:]:
        height, width = pictures.shape[-2:]
        raise ShapeError(f"the mask is (..., 1, {height}, {width}) like the frames, got {tuple(mask.shape)}")
    return mask.to(pictures.device) > 0
