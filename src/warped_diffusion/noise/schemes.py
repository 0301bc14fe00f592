"""Noise schemes: which noise each frame of a shot starts from, given where its pixels come from."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.flow import feather, jacobian
from warped_diffusion.noise.field import GaussianField
from warped_diffusion.noise.grid import PADDING
from warped_diffusion.noise.spectra import Spectrum

STRETCH, SHRINK = (0.6, 0.85), (1.4, 2.0)
"""Singular values of a map's derivative between which noise read through it passes from lost to kept, and back.

White noise enlarged 1.6 times has neighbours correlated by +0.48, reduced 1.6 times by -0.19: stretching harms first.
"""

STILL = 2**31
"""A frame's number that no clip reaches: the key of the noise that stays with the screen."""


class Scheme(Protocol):
    """The noise of one shot, frame by frame; a frame's noise depends on its own arguments and on no earlier call."""

    def frame(self, index: int, positions: Tensor) -> Tensor:
        """Noise of frame `index`.

        Args:
            index: 0 for the first frame of the shot.
            positions: (H, W, 2) absolute map P_j, pixels: where each pixel was in the shot's first frame.
        Returns: (channels, H, W) float32, unit variance, on the positions' device.
        """
        ...


class Fixed:
    """Every frame starts from the same image of noise, which stays with the screen while the picture moves."""

    def __init__(self, channels: int, size: tuple[int, int], spectrum: str | Spectrum, seed: int, shot: int) -> None:
        self._noise = GaussianField(channels, size, spectrum, seed=(seed, shot)).grid()

    def frame(self, index: int, positions: Tensor) -> Tensor:
        return self._noise.to(positions.device, copy=True)


class Resample:
    """Every frame starts from noise of its own: what an image model applied frame by frame does."""

    def __init__(self, channels: int, size: tuple[int, int], spectrum: str | Spectrum, seed: int, shot: int) -> None:
        self._channels, self._size, self._spectrum = channels, size, spectrum
        self._key = (seed, shot)

    def frame(self, index: int, positions: Tensor) -> Tensor:
        # Read on its own pixels only, the field needs no room for motion: a margin that parts its edges is enough.
        field = GaussianField(self._channels, self._size, self._spectrum, seed=(*self._key, index), padding=PADDING)
        return field.grid().to(positions.device)


class Warped:
    r"""Every frame starts from the same random function, carried along by the motion: ξ(P_j(x)).   [paper, §3.1]

    A map that stretches the picture stretches the noise, and a network takes smooth noise for content: coloured specks
    where an occluder has moved on. So a second function ζ, that stays with the screen, takes over there:

        noise = β ξ(P_j(x)) + √(1 − β²) ζ(x),   β = `fidelity`(P_j)

    which has unit variance whatever the map. Wherever the motion is close to rigid, β is 1.
    """

    def __init__(self, channels: int, size: tuple[int, int], spectrum: str | Spectrum, seed: int, shot: int) -> None:
        self._field = GaussianField(channels, size, spectrum, seed=(seed, shot))
        self._still = GaussianField(channels, size, spectrum, seed=(seed, shot, STILL), padding=PADDING).grid()

    def frame(self, index: int, positions: Tensor) -> Tensor:
        expected = (*self._field.size, 2)
        if positions.shape != expected:
            raise ShapeError(f"positions have shape {tuple(positions.shape)}, expected {expected}, one per pixel")
        beta = fidelity(positions)
        still = self._still.to(positions.device)
        return beta * self._field(positions) + (1 - beta.square()).sqrt() * still


def fidelity(positions: Tensor) -> Tensor:
    """How far noise read at the positions keeps its spectrum: (H, W) in [0, 1] for a map (H, W, 2).

    1 where the map shrinks nothing below `STRETCH[1]` of its size and enlarges nothing above `SHRINK[0]` (a source
    pixel then covers 1 / 0.85 screen pixels at most), 0 beyond the other limits and where it folds; drawn in and
    feathered, since estimated flow is noisy.
    """
    J = jacobian(positions)
    total, det = J.square().sum((-1, -2)), torch.linalg.det(J)
    root = (total.square() - 4 * det.square()).clamp(min=0).sqrt()
    largest, smallest = ((total + root) / 2).sqrt(), ((total - root) / 2).clamp(min=0).sqrt()
    beta = _ramp(smallest, *STRETCH) * _ramp(largest, *SHRINK[::-1]) * (det > 0)
    return feather(beta)


def _ramp(values: Tensor, zero: float, one: float) -> Tensor:
    """0 up to `zero`, 1 from `one` on, linear between; the two may come in either order."""
    return ((values - zero) / (one - zero)).clamp(0, 1)


SCHEMES: dict[str, Callable[[int, tuple[int, int], str | Spectrum, int, int], Scheme]] = {
    "fixed": Fixed,
    "resample": Resample,
    "gp": Warped,
}


def make_scheme(
    name: str,
    *,
    channels: int,
    size: tuple[int, int],
    spectrum: str | Spectrum = "white",
    seed: int = 0,
    shot: int = 0,
) -> Scheme:
    """The scheme of that name for one shot; `fixed` and `gp` of one seed begin with the same frame.

    Args:
        size: (height, width) of a frame, pixels.
        spectrum: the one that the model was trained with.
        seed, shot: the key of the shot's noise.
    Raises: UserError if no scheme has that name.
    """
    if name not in SCHEMES:
        raise UserError(f'noise "{name}" is not known: choose one of {", ".join(SCHEMES)}')
    return SCHEMES[name](channels, size, spectrum, seed, shot)
