"""The paper's cosines against the plain sum, their frequencies against the spectrum, and their covariance."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.noise import SPECTRA, GaussianField, SquaredExponential, get_spectrum
from warped_diffusion.noise.random_features import CROWD, SIDE, RandomFeatures, direct_sum

TRANSFORM = 2e-6
"""Error of a value of unit variance: the transform's 5e-7, and rounding to float32."""
AGREEMENT = 1e-5
"""What the transform and the plain sum may differ by, relative to the field's unit standard deviation."""
SIGMAS = 4.0

spectra = pytest.mark.parametrize("spectrum", list(SPECTRA))


def printed(features: RandomFeatures, positions: Tensor) -> Tensor:
    """√(2/J) Σ w cos(⟨z, x⟩ + b), one channel after the other, nothing shared: (channels, M)."""
    z, b, w = (part.numpy() for part in (features.frequencies, features.phases, features.weights))
    x = positions.numpy()
    values = [math.sqrt(2 / len(b)) * sum(w[j] * np.cos(x @ z[j] + b[j]) for j in range(len(b))) for w in w]
    return torch.from_numpy(np.stack(values))


def scattered(count: int, extent: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return extent * (2 * torch.rand(count, 2, generator=generator, dtype=torch.float64) - 1)


@spectra
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_transform_equals_the_printed_sum(spectrum: str, channels: int) -> None:
    features = RandomFeatures.draw(channels, (9, 9), get_spectrum(spectrum), seed=(3, 1), features=300)
    positions = scattered(500, 200.0) + 61.3
    expected = printed(features, positions)
    assert (features.at(positions) - expected).abs().max() < AGREEMENT
    exact = direct_sum(features.frequencies, features.phases, features.weights, positions, torch.float64)
    assert (exact - expected).abs().max() < 1e-12
    # Angles of 200 π radians in float32 are off by 4e-5.
    rounded = direct_sum(features.frequencies, features.phases, features.weights, positions)
    assert rounded.dtype == torch.float32
    assert (rounded - expected).abs().max() < 4e-4


def test_three_thousand_features_on_a_turned_frame() -> None:
    field = GaussianField(4, (128, 128), "white", "random", seed=1)
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    positions = torch.stack([0.8 * x - 0.6 * y, 0.6 * x + 0.8 * y], -1)
    features = RandomFeatures.draw(4, (128, 128), get_spectrum("white"), seed=1)
    assert features.frequencies.shape == (3000, 2)
    exact = direct_sum(features.frequencies, features.phases, features.weights, positions.reshape(-1, 2), torch.float64)
    assert (field(positions).flatten(1) - exact).abs().max() < AGREEMENT


@pytest.mark.parametrize("spectrum", [*SPECTRA.values(), SquaredExponential(length=1.3)], ids=str)
def test_frequencies_are_distributed_as_the_density(spectrum) -> None:
    """Quantiles against the integral of the profile, then Kolmogorov's statistic, above 1.95/√n once in 1000 seeds."""
    share = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(60))
    k = spectrum.quantile(share)
    half = (k + math.pi) / 2
    below = (spectrum.profile(-math.pi + half[:, None] * (nodes + 1)) * weights).sum(1) * half
    assert (below - share).abs().max() < 1e-12
    assert abs(spectrum.quantile(torch.ones(1, dtype=torch.float64)) - math.pi) < 1e-12
    z = RandomFeatures.draw(1, (1, 1), spectrum, seed=2, features=20_000).frequencies
    assert z.abs().max() <= math.pi
    levels, quantiles = np.linspace(0, 1, 4001), spectrum.quantile(torch.linspace(0, 1, 4001, dtype=torch.float64))
    for axis in z.T.numpy():
        assert kstest(np.interp(axis, quantiles, levels), "uniform").statistic < 1.95 / math.sqrt(len(axis))
    assert abs(float(torch.corrcoef(z.T)[0, 1])) < SIGMAS / math.sqrt(len(z))


@spectra
def test_covariance_given_the_features_and_on_average(spectrum: str) -> None:
    """Over channels the covariance is (2/J) Σ cos·cos exactly; over features that is κ, to within 1/√J each time."""
    channels, count = 4000, 500
    offsets = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.0], [0.6, -0.8]], dtype=torch.float64)
    points = offsets + torch.tensor([5.3, 8.85])
    features = RandomFeatures.draw(channels, (16, 16), get_spectrum(spectrum), seed=2, features=count)
    values = features.at(points)
    cosines = torch.cos(points @ features.frequencies.T + features.phases) * math.sqrt(2 / count)
    given = cosines @ cosines.T
    estimate = values.T @ values / channels
    standard_error = ((1 + given.square()) / channels).sqrt()
    assert ((estimate.T - given).abs() / standard_error)[0].max() < SIGMAS
    kappa = get_spectrum(spectrum).kernel(*offsets.T)
    # A term 2 cos·cos has mean κ and a variance below 5/2 − κ²: at most √(5/2).
    assert ((given[0] - kappa).abs()).max() < SIGMAS * math.sqrt(2.5 / count)


def test_the_seed_alone_decides_and_channels_are_added_at_the_end() -> None:
    at = scattered(40, 30.0)[None]

    def draw(seed: int | tuple[int, ...], channels: int = 2, size: tuple[int, int] = (8, 8)) -> Tensor:
        return GaussianField(channels, size, "white", "random", seed)(at)

    assert torch.equal(draw(7), draw((7,)))
    assert torch.equal(draw(7), draw(7, size=(40, 3)))
    many = scattered(2 * CROWD, 30.0)[None]  # read from a table or transformed, as the size has it
    frames = [GaussianField(2, (n, n), "white", "random", 7)(many) for n in (8, 80)]
    assert (frames[0] - frames[1]).abs().max() < TRANSFORM
    assert (draw(7, channels=5)[:2] - draw(7)).abs().max() < TRANSFORM
    assert all(not torch.allclose(draw(7), draw(seed), atol=0.1) for seed in (8, (7, 0), (0, 7)))


@spectra
def test_grid_and_batches(spectrum: str) -> None:
    field = GaussianField(3, (12, 10), spectrum, "random")
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(10.0), indexing="ij")
    assert (field.grid() - field(torch.stack([x, y], -1))).abs().max() < TRANSFORM
    batch = torch.stack([scattered(120, 30.0, seed).reshape(12, 10, 2) for seed in range(4)]).unflatten(0, (2, 2))
    together = field(batch)
    assert together.shape == (2, 2, 3, 12, 10)
    assert all(torch.equal(together[i, j], field(batch[i, j])) for i in range(2) for j in range(2))
    assert field(batch[:0]).shape == (0, 2, 3, 12, 10)


@spectra
@pytest.mark.parametrize("size", [(64, 64), (60, 104), (32, 140)], ids=str)
def test_a_table_gives_the_printed_sum_up_to_its_edges(spectrum: str, size: tuple[int, int]) -> None:
    features = RandomFeatures.draw(3, size, get_spectrum(spectrum), seed=5, features=200)
    extent = torch.tensor([size[1], size[0]], dtype=torch.float64)
    positions = extent * (0.5 + scattered(CROWD, 0.75))
    corners = torch.tensor([[-0.25, -0.25], [1.25, -0.25], [-0.25, 1.25], [1.25, 1.25]], dtype=torch.float64) * extent
    positions = torch.cat([positions, corners])
    assert features._table.holds(*positions.T.numpy())
    assert not features._table.holds(*(positions - 1e-6).T.numpy())
    assert (features.at(positions) - printed(features, positions)).abs().max() < AGREEMENT / 10


def test_positions_far_apart_cost_no_memory_and_no_accuracy() -> None:
    """A crowded square, one far away, and points that are alone: transforms and plain sums meet in one result."""
    features = RandomFeatures.draw(2, (8, 8), get_spectrum("white"), seed=3, features=50)
    crowd = scattered(CROWD, 30.0)
    positions = torch.cat([crowd, crowd + 40 * SIDE, scattered(20, 1e6, seed=1), torch.tensor([[1e9, -1e9]])])
    positions = positions[torch.randperm(len(positions), generator=torch.Generator().manual_seed(0))].double()
    exact = direct_sum(features.frequencies, features.phases, features.weights, positions, torch.float64)
    assert (features.at(positions) - exact).abs().max() < AGREEMENT


def test_what_has_no_period_takes_no_padding_and_shows_no_canvas() -> None:
    with pytest.raises(UserError, match="padding is 4, but random features never repeat"):
        GaussianField(1, (8, 8), "white", "random", padding=4)
    with pytest.raises(UserError, match='use representation="lattice"'):
        GaussianField(1, (8, 8), "white", "random").canvas()
