r"""Linear degradations A of pictures, with their adjoints: <A x, y> = <x, A^T y>."""

from dataclasses import dataclass
from math import ceil
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError


class Operator(Protocol):
    """What was done to pictures, as far as it is linear. Items of a batch and channels do not mix."""

    @property
    def gram(self) -> float | Tensor | None:
        """The diagonal of A A^T where it has no more than that, broadcast to the measurement; else None."""
        ...

    def apply(self, pictures: Tensor) -> Tensor:
        """A: (B, C, H, W) -> (B, C, h, w)."""
        ...

    def adjoint(self, measured: Tensor) -> Tensor:
        """A^T: (B, C, h, w) -> (B, C, H, W)."""
        ...


@dataclass(frozen=True)
class AreaAverage:
    """The mean of every factor x factor block, as in super-resolution: A A^T = 1 / factor^2."""

    factor: int

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise UserError(f"blocks have a side of at least 1 pixel, got {self.factor}")

    @property
    def gram(self) -> float:
        return self.factor**-2

    def apply(self, pictures: Tensor) -> Tensor:
        """Raises: ShapeError unless height and width are whole numbers of blocks."""
        height, width = pictures.shape[-2:]
        if height % self.factor or width % self.factor:
            raise ShapeError(
                f"pictures are {width}x{height}, which blocks of {self.factor}x{self.factor} do not fill: cut them"
            )
        return F.avg_pool2d(pictures, self.factor)

    def adjoint(self, measured: Tensor) -> Tensor:
        blocks = measured.repeat_interleave(self.factor, -2).repeat_interleave(self.factor, -1)
        return blocks / self.factor**2


@dataclass(frozen=True, eq=False)
class Mask:
    """Pictures of which a part is known, as in inpainting; what is measured elsewhere is not looked at.

    Attributes:
        known: (B, 1, H, W), 1 where the picture is known and 0 in the holes.
    """

    known: Tensor

    @property
    def gram(self) -> Tensor:
        return self.known.square()

    def apply(self, pictures: Tensor) -> Tensor:
        return self.known * pictures

    def adjoint(self, measured: Tensor) -> Tensor:
        return self.known * measured


@dataclass(frozen=True)
class Blur:
    """Convolution with a Gaussian of that standard deviation, pixels; at the edge the picture is mirrored.

    The kernel reaches four deviations and sums to 1. It is symmetric and mirroring repeats the edge pixel, so that A is
    its own adjoint: along an axis A_ij = k(i - j) plus k at the mirror images of j, which is the same for i and j.
    """

    deviation: float

    REACH: ClassVar[float] = 4.0
    gram: ClassVar[None] = None

    def __post_init__(self) -> None:
        if not 0 < self.deviation < float("inf"):
            raise UserError(f"a blur has a deviation above 0, in pixels, got {self.deviation}")

    def apply(self, pictures: Tensor) -> Tensor:
        for axis in (-2, -1):
            pictures = self._along(pictures, axis)
        return pictures

    def adjoint(self, measured: Tensor) -> Tensor:
        return self.apply(measured)

    def _along(self, pictures: Tensor, axis: int) -> Tensor:
        reach, side = ceil(self.REACH * self.deviation), pictures.shape[axis]
        offsets = torch.arange(-reach, reach + 1, device=pictures.device)
        kernel = torch.exp(-(offsets.to(pictures.dtype) ** 2) / (2 * self.deviation**2))
        there = torch.arange(-reach, side + reach, device=pictures.device) % (2 * side)
        mirrored = pictures.index_select(axis, torch.minimum(there, 2 * side - 1 - there))
        shape = (-1, 1) if axis == -2 else (1, -1)
        planes = mirrored.flatten(0, 1)[:, None]
        return F.conv2d(planes, (kernel / kernel.sum()).reshape(1, 1, *shape)).reshape(pictures.shape)
