"""Super-resolution: frames that are too small, each pixel the mean of a block of the larger one's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from warped_diffusion import artefacts
from warped_diffusion.diffusion.operators import AreaAverage, Operator
from warped_diffusion.errors import UserError
from warped_diffusion.tasks.resize import area_average, back_project, enlarge
from warped_diffusion.tasks.task import refuse

TOLERANCE = 0.0175
"""Model units, per factor: by so much an estimate may contradict a pixel of the input, 18 levels of 255 at 8x.

What was made up in one frame does not average to nothing on the grid of the next, which lies elsewhere in the picture.
Held to 2.5 levels, the error to the first frame grows up to eightfold; let go, ghosts and specks of colour stay.
"""


@dataclass(frozen=True)
class SuperResolution:
    """Frames reduced by an integer factor, each pixel the area average of `scale` x `scale` of the original's.

    Raises: UserError unless scale is a whole number from 2 to 8.
    """

    scale: int = 4
    name: ClassVar[str] = "super-resolution"
    takes_mask: ClassVar[bool] = False
    detail: ClassVar[float] = 1.0
    noise: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        if self.scale not in range(2, 9):
            raise UserError(f"the scale must be a whole number from 2 to 8, got {self.scale}")

    def degrade(self, pictures: Tensor, mask: Tensor | None = None) -> Tensor:
        refuse(mask, self.name)
        return area_average(pictures, self.scale)

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size[0] * self.scale, size[1] * self.scale

    def condition(self, pictures: Tensor, mask: Tensor | None = None) -> Mapping[str, Tensor]:
        """`picture`: an enlargement in [-1, 1] whose average is the input; `scale`: the factor, one number an item."""
        refuse(mask, self.name)
        picture = back_project(pictures, self.scale) * 2 - 1
        return {"picture": picture, "scale": picture.new_full((len(picture),), float(self.scale))}

    def agree(self, estimates: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Where an estimate's average is further than `TOLERANCE` scale from the input, the rest is taken off."""
        gap = area_average(condition["picture"] - estimates, self.scale)
        gap = gap - gap.clamp(-TOLERANCE * self.scale, TOLERANCE * self.scale)
        return estimates + enlarge(gap, (estimates.shape[-2], estimates.shape[-1]))

    def operator(self, condition: Mapping[str, Tensor]) -> Operator:
        return AreaAverage(self.scale)

    def degrade_roughly(self, pictures: Tensor, generator: np.random.Generator) -> Tensor:
        """As real clips come, for training: mostly the plain average, at times blurred, noisy or compressed.

        Args:
            pictures: (B, 3, H, W) in [0, 1], H and W multiples of `scale`.
            generator: draws the kind and amount, once per picture.
        """
        low = area_average(pictures, self.scale)
        return torch.stack([_roughen(picture, generator) for picture in low])


def _roughen(picture: Tensor, generator: np.random.Generator) -> Tensor:
    """Three pictures in twenty are slightly blurred, as many noisy, one in five compressed (JPEG)."""
    blurred, noisy, compressed = generator.random(3) < (0.15, 0.15, 0.2)
    values = picture.permute(1, 2, 0).numpy()
    if blurred:
        values = artefacts.blur(values, generator.uniform(0.2, 0.6))
    if noisy:
        values = values + generator.normal(0, generator.uniform(0.2, 2.5) / 255, values.shape).astype(np.float32)
    if compressed:
        values = artefacts.jpeg(values, int(generator.integers(60, 98)))
    return torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1).clamp(0, 1)
