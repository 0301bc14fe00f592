"""Errors in the noise's own metric: what they are of noise itself, and that they have the same minimiser."""

import pytest
import torch

from warped_diffusion.noise import get_spectrum, grid_noise
from warped_diffusion.noise.lattice import amplitude
from warped_diffusion.training.whitening import mean_square

SHAPE = (64, 3, 24, 20)
CORRELATED = "squared-exponential"


def errors(seed=0):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("spectrum", "power"), [("white", 0.0), ("white", 1.0), (CORRELATED, 0.0)])
def test_without_power_or_under_white_noise_it_is_the_mean_square(spectrum, power):
    expected = errors().square().mean((1, 2, 3))
    torch.testing.assert_close(mean_square(errors(), [spectrum] * SHAPE[0], power), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_each_wave_counts_by_the_power_of_the_noise_at_its_frequency(power):
    """Two waves whose noise differs by a factor of q count q^-power to one another."""
    rows, columns = SHAPE[-2:]
    x = torch.arange(columns) * 2 * torch.pi / columns
    waves = torch.stack([torch.cos(k * x).expand(1, rows, columns) for k in (1, 8)])
    found = mean_square(waves, [CORRELATED] * 2, power)
    density = amplitude(get_spectrum(CORRELATED), (rows, columns))[0, [1, 8]].square()
    assert float(found[1] / found[0]) == pytest.approx(float((density[0] / density[1]) ** power), rel=1e-4)
    assert float(density[0] / density[1]) > 3


def test_noise_itself_becomes_white():
    """Its whitened energy is the same in every mode: the mean over modes of 1 is the weights' own scale.

    A patch of a field is not periodic, so a little of what is strong leaks to where there is next to nothing.
    """
    generator = torch.Generator().manual_seed(1)
    noise = grid_noise(CORRELATED, (400, 1, 64, 64), generator)
    weights = amplitude(get_spectrum(CORRELATED), (64, 64)).square()
    scale = float((1 / weights).mean())
    found = float(mean_square(noise, [CORRELATED] * 400, 1.0).mean()) * scale
    assert found == pytest.approx(1, rel=0.1)


def test_items_have_spectra_of_their_own():
    both = mean_square(errors()[:2], ["white", CORRELATED], 1.0)
    assert both[0] == mean_square(errors()[:1], ["white"], 1.0)[0]
    assert both[1] == mean_square(errors()[1:2], [CORRELATED], 1.0)[0]


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_the_mean_minimises_it_at_every_power(power):
    """Of a linear estimate g u of x, both correlated as the noise is: the best g is the least squares' at any power."""
    x, n = (grid_noise(CORRELATED, (256, 1, 24, 24), torch.Generator().manual_seed(seed)) for seed in (2, 3))
    u = x + 0.5 * n
    g = torch.linspace(0.7, 0.9, 41)
    losses = torch.stack([mean_square(factor * u - x, [CORRELATED] * 256, power).mean() for factor in g])
    assert float(g[losses.argmin()]) == pytest.approx(1 / (1 + 0.25), abs=0.011)
