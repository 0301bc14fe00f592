"""The lattice representation of a random function: all modes of a padded periodic grid, full rank on the frame."""

import math
from typing import Self

import finufft
import numpy as np
import torch
from torch import Tensor

from warped_diffusion.noise.seeds import Seed, standard_normal
from warped_diffusion.noise.spectra import Spectrum

ACCURACY = 1e-7
"""Relative error asked of the non-uniform transform: about what rounding to float32 adds anyway."""


def lattice_size(size: tuple[int, int], padding: tuple[int, int]) -> tuple[int, int]:
    """The smallest odd (height, width) with `size` pixels and `padding` more on each side.

    An even axis has an unpaired Nyquist mode, cos(π·x), which vanishes half-way between pixels: a field shifted by half
    a pixel would lose it. An odd axis has none, and its modes' cells tile [-π, π] exactly.
    """
    height, width = (n + 2 * margin for n, margin in zip(size, padding, strict=True))
    return height | 1, width | 1


def amplitude(spectrum: Spectrum, size: tuple[int, int]) -> Tensor:
    """√spectrum at a lattice's modes, rescaled so that the field has unit variance on any lattice exactly.

    Args:
        size: (h, w) of the lattice, both odd.
    Returns: (h, w) float64, modes in FFT order, to multiply the Fourier transform of white noise by.
    """
    ky, kx = (2 * math.pi * torch.fft.fftfreq(n, dtype=torch.float64) for n in size)
    power = spectrum.density(kx, ky[:, None])
    return (power / power.mean()).sqrt()


def filtered(white: Tensor, spectrum: Spectrum) -> Tensor:
    """White noise (C, h, w) on a periodic lattice, h and w odd, brought to the spectrum: the same shape and dtype."""
    size = (white.shape[-2], white.shape[-1])
    half = amplitude(spectrum, size)[:, : size[1] // 2 + 1].to(white)
    return torch.fft.irfft2(torch.fft.rfft2(white) * half, s=size)


class Lattice:
    r"""ξ(x) = Σ_k c_k·exp(i·k·x), c the Fourier transform of a white image times √spectrum; periodic.

    The covariance is the spectrum's kernel, summed over the periods, to O(1/h² + 1/w²); exactly so for the white one,
    whose field at integer positions *is* the image that was planted. Pixel (0, 0) of the image is position (0, 0).

    Args:
        white: (channels, h, w) i.i.d. N(0, 1), h and w odd (see `lattice_size`).
        spectrum: the power spectrum of the field.
    """

    points_at_once = 2**20
    """A point's value depends on no other point, and the transform of the modes serves them all."""

    def __init__(self, white: Tensor, spectrum: Spectrum) -> None:
        self.channels, self.height, self.width = white.shape
        # Real fields travel in pairs, as real and imaginary part: half the transforms. An odd last one travels alone.
        paired = torch.nn.functional.pad(white.double(), (0, 0, 0, 0, 0, self.channels % 2))
        modes = torch.fft.fft2(torch.complex(paired[0::2], paired[1::2]))
        self.modes = modes * amplitude(spectrum, (self.height, self.width))

    @classmethod
    def draw(cls, channels: int, size: tuple[int, int], spectrum: Spectrum, seed: Seed, padding: int | None) -> Self:
        """A random function for frames of that size; `padding` None doubles each axis.

        Twice the frame is what a zoom out by two may see before it meets the same noise again; being periodic, the
        lattice needs no say in which side the padding lies on.
        """
        height, width = size
        margins = (math.ceil(height / 2), math.ceil(width / 2)) if padding is None else (padding, padding)
        white = standard_normal(seed, (channels, *lattice_size(size, margins)))
        return cls(white, spectrum)

    def grid(self, size: tuple[int, int]) -> Tensor:
        """The field at the integer positions (0 … W-1, 0 … H-1), by one FFT: (channels, H, W) float64."""
        height, width = size
        return self._unpair(torch.fft.ifft2(self.modes)[..., :height, :width])

    def canvas(self) -> Tensor:
        """The field at the integers of one whole period, (0 … w-1, 0 … h-1): (channels, h, w) float64."""
        return self.grid((self.height, self.width))

    def at(self, positions: Tensor, threads: int = 1) -> Tensor:
        """The field at any positions, by a type-2 non-uniform FFT.

        Args:
            positions: (M, 2) finite, pixels, (x right, y down), float64 on the CPU.
            threads: the last bits depend on their number; one means one noise on every machine.
        Returns: (channels, M) float64.
        """
        x, y = np.ascontiguousarray((2 * math.pi * positions / torch.tensor([self.width, self.height])).numpy().T)
        values = finufft.nufft2d2(
            y,
            x,
            self.modes.numpy(),
            eps=ACCURACY,
            isign=1,
            modeord=1,
            upsampfac=1.25,  # measured at 640 x 360 x 3: the error of 2.0 in half its time
            nthreads=threads,
        )
        return self._unpair(torch.from_numpy(values) / (self.height * self.width))

    def _unpair(self, pairs: Tensor) -> Tensor:
        return torch.stack([pairs.real, pairs.imag], dim=1).flatten(0, 1)[: self.channels]
