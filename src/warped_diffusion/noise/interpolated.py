"""Noise moved as one moves a picture, by the nearest pixel or a bilinear mean: both harm it, and are yardsticks."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from warped_diffusion.noise.field import GaussianField
from warped_diffusion.noise.positions import check_finite, check_shape, item_by_item
from warped_diffusion.noise.spectra import Spectrum
from warped_diffusion.noise.stateless import Stateless


class Interpolated(Stateless, ABC):
    """The first frame's noise, read at P_j(x) by a kernel; beyond that frame its canvas goes on, and then repeats.

    With either spectrum it is the pixels of the correlated canvas that are moved.
    """

    offsets: ClassVar[tuple[tuple[int, int], ...]]
    """(right, down) of the pixels that a position reads, from the one at or before it."""

    def __init__(self, channels: int, size: tuple[int, int], spectrum: str | Spectrum, seed: int, shot: int) -> None:
        self._size = size
        self._canvas = GaussianField(channels, size, spectrum, seed=(seed, shot)).canvas()

    def frame(
        self, index: int, positions: Tensor, backward: Tensor | None = None, known: Tensor | None = None
    ) -> Tensor:
        check_shape(positions, self._size)
        check_finite(positions)
        return item_by_item(self._read, positions, len(self._canvas))

    def _read(self, positions: Tensor) -> Tensor:
        corner, part = self._split(positions)
        height, width = self._canvas.shape[-2:]
        # The remainder first: a position may lie further away than an integer can say.
        x, y = corner.remainder(corner.new_tensor([width, height])).long().unbind(-1)
        noise = torch.zeros(len(self._canvas), *positions.shape[:-1])
        for right, down in self.offsets:
            share = self._share(part[..., 0], right) * self._share(part[..., 1], down)
            noise += share.float() * self._canvas[:, (y + down) % height, (x + right) % width]
        return noise

    def _split(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """The pixel at or before each position, and how far beyond it the position lies, in [0, 1)."""
        corner = positions.floor()
        return corner, positions - corner

    @abstractmethod
    def _share(self, part: Tensor, step: int) -> Tensor:
        """The weight along one axis of the pixel `step` after the first, of a position `part` beyond that."""


class Nearest(Interpolated):
    """Every pixel takes the noise of the pixel that its position is nearest to.

    Values keep their distribution, but a picture that grows shows them twice, and motion below half a pixel from the
    first frame does not move them at all.
    """

    offsets = ((0, 0),)

    def _split(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return super()._split(positions + 0.5)  # not round(), which takes ties to even: both halves of a pair of pixels

    def _share(self, part: Tensor, step: int) -> Tensor:
        return torch.ones_like(part)


class Bilinear(Interpolated):
    """Every pixel takes the bilinear mean of the four around its position.

    The mean of white noise has less variance, (1 − 2f(1 − f)) along each axis for a fraction f of a pixel: a quarter
    at half a pixel both ways. Nothing is done about it; that is the scheme.
    """

    offsets = ((0, 0), (1, 0), (0, 1), (1, 1))

    def _share(self, part: Tensor, step: int) -> Tensor:
        return part if step else 1 - part
