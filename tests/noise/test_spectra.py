"""Spectra against quadrature: the density and the kernel are one Fourier pair."""

import math

import numpy as np
import pytest
import torch

from warped_diffusion.errors import UserError
from warped_diffusion.noise import SPECTRA, Spectrum, SquaredExponential, White, get_spectrum

QUADRATURE = 1e-12
"""Gauss-Legendre with 160 nodes integrates these smooth integrands to rounding."""

spectra = pytest.mark.parametrize("spectrum", [*SPECTRA.values(), SquaredExponential(length=1.3)], ids=str)


def fourier_nodes() -> tuple[torch.Tensor, torch.Tensor]:
    nodes, weights = np.polynomial.legendre.leggauss(160)
    return math.pi * torch.from_numpy(nodes), math.pi * torch.from_numpy(weights)


@spectra
def test_density_has_unit_power_and_ends_at_nyquist(spectrum: Spectrum) -> None:
    k, weight = fourier_nodes()
    power = (weight[:, None] * weight * spectrum.density(k, k[:, None])).sum()
    assert abs(power - 1) < QUADRATURE
    beyond, inside = torch.tensor(3.15), torch.tensor(0.3)
    assert spectrum.density(beyond, inside) == spectrum.density(inside, -beyond) == 0
    assert spectrum.density(inside, inside) > 0


@spectra
@pytest.mark.parametrize("offset", [(0.0, 0.0), (1.0, 0.0), (0.0, -0.5), (0.7, 2.3), (17.25, 3.5)])
def test_kernel_is_the_cosine_transform_of_the_density(spectrum: Spectrum, offset: tuple[float, float]) -> None:
    k, weight = fourier_nodes()
    dx, dy = torch.tensor(offset, dtype=torch.float64)
    integrand = spectrum.density(k, k[:, None]) * torch.cos(k * dx + k[:, None] * dy)
    expected = (weight[:, None] * weight * integrand).sum()
    assert abs(spectrum.kernel(dx, dy) - expected) < QUADRATURE


def test_known_values_at_one_pixel() -> None:
    one, zero = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    assert round(float(get_spectrum("squared-exponential").kernel(one, zero)), 3) == 0.341
    untruncated = math.exp(-(math.pi**2) / 8)
    assert round(untruncated, 3) == 0.291
    # With a length of many pixels the truncation removes nothing, and the textbook kernel is left.
    wide = SquaredExponential(length=4.0)
    assert abs(wide.kernel(3 * one, zero) - math.exp(-(3**2) / (2 * 4**2))) < QUADRATURE


def test_white_kernel_is_the_identity_on_the_pixel_grid() -> None:
    lag = torch.arange(-20.0, 21.0, dtype=torch.float64)
    expected = (lag[:, None] == 0) & (lag == 0)
    assert torch.allclose(White().kernel(lag, lag[:, None]), expected.double(), atol=1e-15)


def test_kernel_keeps_shape_and_dtype_and_stays_finite_far_away() -> None:
    far = torch.tensor([[0.0, 40.0, 1e3, 1e6]])
    kappa = get_spectrum("squared-exponential").kernel(far, torch.zeros(3, 1))
    assert kappa.shape == (3, 4)
    assert kappa.dtype == torch.float32
    assert kappa.isfinite().all()
    assert kappa[:, 1:].abs().max() < 2e-3


def test_names_lead_to_spectra_and_an_unknown_one_is_an_error() -> None:
    assert all(get_spectrum(name).name == name for name in SPECTRA)
    assert get_spectrum(White()) == SPECTRA["white"]
    with pytest.raises(UserError, match='"pink" is not known: choose one of white, squared-exponential'):
        get_spectrum("pink")
