"""Training noise has the field's covariance, on the grid."""

import math

import pytest
import torch

from warped_diffusion.errors import UserError
from warped_diffusion.noise import SPECTRA, get_spectrum, grid_noise

SIGMAS = 4.0
"""Monte Carlo estimates must lie within this many of their standard errors."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("spectrum", list(SPECTRA))
@pytest.mark.parametrize("offset", [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (0, 11), (15, 0)])
def test_covariance_is_the_kernel(spectrum: str, offset: tuple[int, int]) -> None:
    """8000 independent patches; the standard error of their mean product, at most 0.016, from the patches' spread.

    The last two offsets join opposite edges: a patch cut from too tight a period would show the kernel near 0 there.
    """
    dx, dy = offset
    patches = grid_noise(spectrum, (2000, 4, 12, 16), generator()).double().flatten(0, 1)
    products = (patches[:, dy:, dx:] * patches[:, : 12 - dy, : 16 - dx]).mean(dim=(-1, -2))
    kappa = get_spectrum(spectrum).kernel(*torch.tensor(offset, dtype=torch.float64))
    standard_error = products.std() / math.sqrt(len(products))
    assert standard_error < 0.016
    assert abs(products.mean() - kappa) < SIGMAS * standard_error


def test_items_and_channels_are_independent() -> None:
    noise = grid_noise("squared-exponential", (2, 3, 200, 200), generator()).flatten(0, 1).flatten(1).double()
    correlation = noise @ noise.T / noise.shape[1]
    off_diagonal = correlation - correlation.diag().diag()
    # The variance of a mean product is Σ κ²/n over all lags, and Σ κ² = 1.52 for this kernel (1 for white).
    assert off_diagonal.abs().max() < SIGMAS * math.sqrt(1.52 / noise.shape[1])


@pytest.mark.parametrize("shape", [(2, 3, 9, 14), (1, 1, 1, 1), (4, 8, 8)])
def test_shape_and_dtype(shape: tuple[int, ...]) -> None:
    noise = grid_noise("white", shape, generator(), device="cpu")
    assert noise.shape == shape
    assert noise.dtype == torch.float32
    assert noise.is_contiguous()


def test_the_generator_alone_decides_and_advances() -> None:
    source = generator(3)
    first, second = (grid_noise("white", (1, 2, 8, 8), source) for _ in range(2))
    torch.manual_seed(1)
    assert torch.equal(first, grid_noise("white", (1, 2, 8, 8), generator(3)))
    assert not torch.allclose(first, second, atol=0.1)


def test_items_may_have_spectra_and_generators_of_their_own() -> None:
    """An item's noise is bit for bit what it is alone, whatever stands beside it in the batch."""
    names = ["squared-exponential", "white", "squared-exponential"]
    noise = grid_noise(names, (3, 2, 9, 12), [generator(seed) for seed in (4, 5, 6)])
    for item, (name, seed) in enumerate(zip(names, (4, 5, 6), strict=True)):
        assert torch.equal(grid_noise(name, (2, 9, 12), generator(seed)), noise[item])
    together = grid_noise(names[::-1], (3, 2, 9, 12), generator(7))
    assert torch.equal(together[1], grid_noise("white", (3, 2, 9, 12), generator(7))[1])
    assert not torch.allclose(noise[0], noise[2], atol=0.1)


@pytest.mark.parametrize(("names", "seeds"), [(2, 3), (3, 2)])
def test_as_many_spectra_and_generators_as_items(names: int, seeds: int) -> None:
    with pytest.raises(UserError, match=r"3 items of noise take as many spectra and generators, got 2"):
        grid_noise(["white"] * names, (3, 1, 4, 4), [generator()] * seeds)


def test_an_unknown_spectrum_is_an_error() -> None:
    with pytest.raises(UserError, match='"pink" is not known'):
        grid_noise("pink", (1, 1, 4, 4), generator())


@pytest.mark.gpu
def test_a_generator_on_the_device_is_an_error() -> None:
    with pytest.raises(UserError, match="on the CPU"):
        grid_noise("white", (1, 1, 4, 4), torch.Generator(device="cuda"))
