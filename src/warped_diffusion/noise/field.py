"""The random function behind every frame's noise: drawn once per shot, then evaluated wherever the motion leads."""

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.noise.lattice import Lattice
from warped_diffusion.noise.positions import FAR, check_finite, check_shape
from warped_diffusion.noise.random_features import RandomFeatures
from warped_diffusion.noise.seeds import Seed
from warped_diffusion.noise.spectra import Spectrum, get_spectrum


class Representation(Protocol):
    """One way to hold a random function, evaluated in float64 on the CPU."""

    @property
    def points_at_once(self) -> int:
        """Whole maps of a batch are evaluated together up to so many points, and a larger one by itself."""
        ...

    def at(self, positions: Tensor) -> Tensor:
        """(M, 2) finite float64 positions, pixels -> (channels, M) float64."""
        ...

    def grid(self, size: tuple[int, int]) -> Tensor:
        """The field on a frame's own pixels: (channels, H, W) float64."""
        ...

    def canvas(self) -> Tensor:
        """The field on the integers of one whole period: (channels, h, w) float64; UserError if there is none."""
        ...


REPRESENTATIONS: dict[str, Callable[[int, tuple[int, int], Spectrum, Seed, int | None], Representation]] = {
    "lattice": Lattice.draw,
    "random": RandomFeatures.draw,
}


class GaussianField:
    """A stationary Gaussian process ξ, zero mean, unit variance, evaluated exactly at any positions.   [paper, §3.1]

    Noise that follows a video is this function at the video's coordinates, ξ(P_j(x)): nothing is interpolated, so its
    statistics survive any shift.

    Args:
        channels: independent functions, evaluated together.
        size: (height, width) of a frame, pixels; positions may lie outside it.
        spectrum: a name in `SPECTRA`, or a spectrum.
        representation: a name in `REPRESENTATIONS`: `lattice` holds every mode of a periodic grid, `random` is the
            paper's sum of 3000 cosines, which never repeats.
        seed: an integer or a tuple of them, e.g. (seed, shot): the key that the function depends on, and nothing else.
        padding: pixels beyond each side of the frame after which a periodic representation repeats; None for half the
            frame, so that a zoom out by two shows no noise twice.
    Raises: UserError for an unknown name, a negative seed or padding, an empty size, a padding for what has no period.
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
        check_shape(positions)
        check_finite(positions)
        *lead, height, width, _ = positions.shape
        values = torch.empty(math.prod(lead), self.channels, height, width, device=positions.device)
        maps = positions.detach().reshape(len(values), height, width, 2)
        together = max(1, self._function.points_at_once // max(1, height * width))
        for target, group in zip(values.split(together), maps.split(together), strict=True):
            points = group.cpu().double().clamp(-FAR, FAR)
            found = self._function.at(points.reshape(-1, 2))
            target.copy_(found.reshape(self.channels, len(group), height, width).movedim(0, 1))
        return values.reshape(*lead, self.channels, height, width)

    def grid(self) -> Tensor:
        """The field on the frame's own pixels, as at the identity map, by one plain FFT: (channels, H, W) float32."""
        return self._function.grid(self.size).float()

    def canvas(self) -> Tensor:
        """One whole period of the field on the pixel grid: (channels, h, w) float32.

        Pixel (y, x) of the plane is [y mod h, x mod w] of it; the frame is its upper left part, as `grid` has it.

        Raises: UserError if the representation never repeats.
        """
        return self._function.canvas().float()
