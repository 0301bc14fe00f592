"""Noise drawn anew in every frame: all of it, or a share."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.noise.field import GaussianField
from warped_diffusion.noise.grid import PADDING
from warped_diffusion.noise.positions import check_shape
from warped_diffusion.noise.spectra import Spectrum
from warped_diffusion.noise.stateless import Stateless

if TYPE_CHECKING:
    from warped_diffusion.noise.schemes import Scheme


class Resample(Stateless):
    """Every frame starts from noise of its own: what an image model applied frame by frame does.

    So does every item of a batch; the first one's is that of a frame asked for by itself.
    """

    def __init__(
        self, channels: int, size: tuple[int, int], spectrum: str | Spectrum, seed: int, shot: int, *salt: int
    ) -> None:
        self._channels, self._size, self._spectrum = channels, size, spectrum
        self._key, self._salt = (seed, shot), salt
        self._draw((*self._key, 0, *salt))  # what cannot be drawn is told now

    def frame(
        self, index: int, positions: Tensor, backward: Tensor | None = None, known: Tensor | None = None
    ) -> Tensor:
        check_shape(positions, self._size)
        lead = positions.shape[:-3]
        noise = torch.empty(*lead, self._channels, *self._size)
        for item, target in enumerate(noise.view(lead.numel(), self._channels, *self._size)):
            key = (*self._key, index, *self._salt)
            target.copy_(self._draw((*key, item) if item else key))
        return noise.to(positions.device)

    def _draw(self, key: tuple[int, ...]) -> Tensor:
        # Read on its own pixels only, the field needs no room for motion: a margin that parts its edges is enough.
        return GaussianField(self._channels, self._size, self._spectrum, seed=key, padding=PADDING).grid()


class Mixed:
    r"""ε = √(1 − f)·warped + √f·independent: a share f of another scheme's variance is drawn anew in every frame.

    Less coherent, and less of whatever the motion did to the noise. `f` is 1 − β² where others write
    ε = β·warped + √(1 − β²)·fresh.
    """

    def __init__(self, scheme: "Scheme", fresh: float, independent: Resample) -> None:
        if not 0 <= fresh <= 1:
            raise UserError(
                f"fresh is {fresh}: give the share of the noise's variance that is drawn anew in every frame, 0 to 1"
            )
        self._scheme, self._fresh, self._independent = scheme, fresh, independent

    def frame(
        self, index: int, positions: Tensor, backward: Tensor | None = None, known: Tensor | None = None
    ) -> Tensor:
        warped = self._scheme.frame(index, positions, backward, known)
        independent = self._independent.frame(index, positions)
        return (1 - self._fresh) ** 0.5 * warped + self._fresh**0.5 * independent

    def state(self) -> dict[str, Any]:
        return self._scheme.state()

    def resume(self, state: dict[str, Any]) -> None:
        self._scheme.resume(state)
