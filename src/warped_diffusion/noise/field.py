"""The random function behind every frame's noise: drawn once per shot, then evaluated wherever the motion leads."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.noise.lattice import Lattice
from warped_diffusion.noise.seeds import Seed
from warped_diffusion.noise.spectra import Spectrum, get_spectrum


class Representation(Protocol):
    """One way to hold a random function, evaluated in float64 on the CPU."""

    def at(self, positions: Tensor) -> Tensor:
        """(M, 2) finite float64 positions, pixels -> (channels, M) float64."""
        ...

    def grid(self, size: tuple[int, int]) -> Tensor:
        """The field on a frame's own pixels: (channels, H, W) float64."""
        ...


REPRESENTATIONS: dict[str, Callable[[int, tuple[int, int], Spectrum, Seed, int | None], Representation]] = {
    "lattice": Lattice.draw,
}


class GaussianField:
    """A stationary Gaussian process ξ, zero mean, unit variance, evaluated exactly at any positions.   [paper, §3.1]

    Noise that follows a video is this function at the video's coordinates, ξ(P_j(x)): nothing is interpolated, so its
    statistics survive any shift.

    Args:
        channels: independent functions, evaluated together.
        size: (height, width) of a frame, pixels; positions may lie outside it.
        spectrum: a name in `SPECTRA`, or a spectrum.
        representation: a name in `REPRESENTATIONS`.
        seed: an integer or a tuple of them, e.g. (seed, shot): the key that the function depends on, and nothing else.
        padding: pixels beyond each side of the frame after which a periodic representation repeats; None for half the
            frame, so that a zoom out by two shows no noise twice.
    Raises: UserError for an unknown name, a negative seed or padding, an empty size.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        spectrum: str | Spectrum = "white",
        representation: str = "lattice",
        seed: Seed = 0,
        padding: int | None = None,
    ) -> None:
        if channels < 1:
            raise UserError(f"channels is {channels}: a field needs at least one")
        if len(size) != 2 or min(size) < 1:
            raise UserError(f"size is {tuple(size)}: expected (height, width), each at least one pixel")
        if padding is not None and padding < 0:
            raise UserError(f"padding is {padding}: give zero or more pixels, or None for half the frame")
        if representation not in REPRESENTATIONS:
            raise UserError(
                f'representation "{representation}" is not known: choose one of {", ".join(REPRESENTATIONS)}'
            )
        self.channels = channels
        self.size = (size[0], size[1])
        self.spectrum = get_spectrum(spectrum)
        self._function = REPRESENTATIONS[representation](channels, self.size, self.spectrum, seed, padding)

    def __call__(self, positions: Tensor) -> Tensor:
        """The field at `positions`.

        Args:
            positions: (..., H, W, 2) absolute positions, pixels, (x right, y down); any H and W.
        Returns: (..., channels, H, W) float32 on the positions' device; no gradient flows to the positions.
        Raises: ShapeError if the last axis is not (x, y); UserError if a position is not finite.
        """
        if positions.ndim < 3 or positions.shape[-1] != 2:
            raise ShapeError(f"positions have shape {tuple(positions.shape)}, expected (..., H, W, 2)")
        points = positions.detach().cpu().double()
        lost = ~points.isfinite().all(-1)
        if lost.any():
            raise UserError(
                f"{int(lost.sum())} of {lost.numel()} positions are not finite: check the motion behind them"
            )
        values = self._function.at(points.reshape(-1, 2))
        return values.reshape(self.channels, *positions.shape[:-1]).movedim(0, -3).to(positions.device, torch.float32)

    def grid(self) -> Tensor:
        """The field on the frame's own pixels, as at the identity map, by one plain FFT: (channels, H, W) float32."""
        return self._function.grid(self.size).float()
