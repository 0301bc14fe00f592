"""Deblurring: frames that are out of focus."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

from torch import Tensor

from warped_diffusion.diffusion.operators import Blur
from warped_diffusion.errors import UserError
from warped_diffusion.tasks.task import refuse


@dataclass(frozen=True)
class Deblurring:
    """Frames blurred by a Gaussian of a known deviation, `blur` pixels; they keep their size.

    Raises: UserError for a deviation that is not a number above 0.
    """

    blur: float = 1.5
    name: ClassVar[str] = "deblurring"
    takes_mask: ClassVar[bool] = False
    detail: ClassVar[float] = 1.0
    # What the blur all but took away would be divided by next to nothing, with whatever was added since: rounding to
    # 8 bits alone adds 0.29 levels of 255; the sample clip, blurred and encoded as `degrade_video` does, has 1.2.
    noise: ClassVar[float] = 2 / 255

    TOLERANCE: ClassVar[float] = 5 * noise

    def __post_init__(self) -> None:
        if not isinstance(self.blur, int | float) or not (isfinite(self.blur) and self.blur > 0):
            raise UserError(f"the blur is the deviation of a Gaussian in pixels, above 0, got {self.blur!r}")

    def degrade(self, pictures: Tensor, mask: Tensor | None = None) -> Tensor:
        """The blur alone, no noise: rounding and encoding add some."""
        refuse(mask, self.name)
        return self._operator.apply(pictures.reshape(-1, *pictures.shape[-3:])).reshape(pictures.shape)

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size

    def condition(self, pictures: Tensor, mask: Tensor | None = None) -> Mapping[str, Tensor]:
        """`picture`: the input itself, in [-1, 1]; `blur`: its deviation in pixels, one number an item."""
        refuse(mask, self.name)
        return {"picture": pictures * 2 - 1, "blur": pictures.new_full((len(pictures),), float(self.blur))}

    def agree(self, estimates: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Where an estimate, blurred, is further than `TOLERANCE` from the input, the rest is taken off.

        The truth is as near: 999 in 1000 pixels of the sample clip, blurred and encoded.
        """
        gap = condition["picture"] - self._operator.apply(estimates)
        gap = gap - gap.clamp(-self.TOLERANCE, self.TOLERANCE)
        return estimates + self._operator.adjoint(gap)

    def operator(self, condition: Mapping[str, Tensor]) -> Blur:
        return self._operator

    @property
    def _operator(self) -> Blur:
        return Blur(float(self.blur))
