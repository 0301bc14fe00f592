"""Power spectra of the random function: what a model was trained with decides which one it is given."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from scipy.special import wofz
from torch import Tensor

from warped_diffusion.errors import UserError

NYQUIST = math.pi
"""The highest frequency of the pixel grid, rad/px per axis; every spectrum ends here."""


class Spectrum(Protocol):
    """A stationary covariance of unit variance on the plane, and the power spectrum that it belongs to."""

    @property
    def name(self) -> str:
        """The name under which weights and the command line know it."""
        ...

    def density(self, kx: Tensor, ky: Tensor) -> Tensor:
        """Power per (rad/px)² at frequency (kx, ky), rad/px; integrates to 1, zero beyond Nyquist on either axis."""
        ...

    def kernel(self, dx: Tensor, dy: Tensor) -> Tensor:
        """Covariance κ(dx, dy) of two points that lie (dx, dy) pixels apart; κ(0, 0) = 1."""
        ...

    def frequencies(self, uniform: Tensor) -> Tensor:
        """Numbers uniform in [0, 1), (..., 2) -> frequencies (kx, ky), rad/px, distributed as the density."""
        ...


class Separable(ABC):
    """A spectrum that is a product over the axes, so that one axis defines it."""

    @abstractmethod
    def profile(self, k: Tensor) -> Tensor:
        """Power per rad/px along one axis, for |k| <= π; integrates to 1 there."""

    @abstractmethod
    def correlation(self, d: Tensor) -> Tensor:
        """Correlation of two points `d` pixels apart along one axis: ∫ profile(k)·cos(k·d) dk over |k| <= π."""

    @abstractmethod
    def quantile(self, share: Tensor) -> Tensor:
        """The frequency, rad/px, below which that share in [0, 1] of one axis's power lies."""

    def density(self, kx: Tensor, ky: Tensor) -> Tensor:
        """Power per (rad/px)² at frequency (kx, ky), rad/px; the two broadcast; zero beyond Nyquist."""
        inside = (kx.abs() <= NYQUIST) & (ky.abs() <= NYQUIST)
        return torch.where(inside, self.profile(kx) * self.profile(ky), 0.0)

    def kernel(self, dx: Tensor, dy: Tensor) -> Tensor:
        """Covariance κ(dx, dy) of two points (dx, dy) pixels apart; the two broadcast."""
        return self.correlation(dx) * self.correlation(dy)

    def frequencies(self, uniform: Tensor) -> Tensor:
        """Numbers uniform in [0, 1), (..., 2) -> frequencies (kx, ky), rad/px, distributed as the density."""
        return self.quantile(uniform)


@dataclass(frozen=True)
class White(Separable):
    """Flat up to Nyquist. On the pixel grid this is i.i.d. N(0, 1), and on any sub-pixel shift of it again."""

    name: ClassVar[str] = "white"

    def profile(self, k: Tensor) -> Tensor:
        return torch.full_like(k, 1 / (2 * NYQUIST))

    def correlation(self, d: Tensor) -> Tensor:
        return torch.sinc(d)

    def quantile(self, share: Tensor) -> Tensor:
        return NYQUIST * (2 * share - 1)


@dataclass(frozen=True)
class SquaredExponential(Separable):
    r"""The paper's kernel exp(-|d|²/2ε²), its frequencies N(0, ε⁻²) truncated at Nyquist.   [paper, App. 13]

    The paper's ε = 2/(π·resolution) of the unit square is 2/π pixels at every resolution, and its truncation at two
    standard deviations, 2/ε, is then the Nyquist frequency. The truncated kernel is wider: 0.341 at one pixel, where
    the whole one is 0.291.

    Args:
        length: ε, pixels.
    """

    name: ClassVar[str] = "squared-exponential"
    length: float = 2 / math.pi

    def profile(self, k: Tensor) -> Tensor:
        eps = self.length
        kept = math.erf(NYQUIST * eps / math.sqrt(2))
        return eps / (math.sqrt(2 * math.pi) * kept) * torch.exp(-((eps * k) ** 2) / 2)

    def correlation(self, d: Tensor) -> Tensor:
        r"""e^{-b²}·Re erf(a - ib) / erf(a) with a = πε/√2, b = d/(ε√2).

        erf(z) = 1 - e^{-z²}·w(iz) with Faddeeva's w takes e^{b²} out of the product, which would overflow.
        """
        a = NYQUIST * self.length / math.sqrt(2)
        b = d.double() / (self.length * math.sqrt(2))
        w = torch.as_tensor(wofz((b + 1j * a).cpu().numpy()), device=d.device)
        tail = math.exp(-(a**2)) * (torch.exp(2j * a * b) * w).real
        return ((torch.exp(-(b**2)) - tail) / math.erf(a)).to(d.dtype)

    def quantile(self, share: Tensor) -> Tensor:
        kept = math.erf(NYQUIST * self.length / math.sqrt(2))
        return math.sqrt(2) / self.length * torch.erfinv((2 * share - 1) * kept)


SPECTRA: dict[str, Spectrum] = {spectrum.name: spectrum for spectrum in (White(), SquaredExponential())}


def get_spectrum(spectrum: str | Spectrum) -> Spectrum:
    """The spectrum of that name; a spectrum itself passes through.

    Raises: UserError if no spectrum has that name.
    """
    if not isinstance(spectrum, str):
        return spectrum
    if spectrum not in SPECTRA:
        raise UserError(f'spectrum "{spectrum}" is not known: choose one of {", ".join(SPECTRA)}')
    return SPECTRA[spectrum]
