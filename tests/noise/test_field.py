"""The random function against a plain cosine sum, its exact covariance, and its statistics by Monte Carlo."""

import math

import pytest
import torch
from scipy.special import polygamma
from scipy.stats import kstest
from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.noise import SPECTRA, GaussianField, get_spectrum
from warped_diffusion.noise.lattice import Lattice, amplitude, lattice_size
from warped_diffusion.noise.seeds import standard_normal

TRANSFORM = 2e-6
"""Error of a value of unit variance: the transform's 1e-7, largest of many, and rounding to float32."""
SIGMAS = 4.0
"""Monte Carlo estimates must lie within this many of their standard errors; seeds are fixed, so a pass stays one."""

spectra = pytest.mark.parametrize("spectrum", list(SPECTRA))
SHIFTS = [(0.0, 0.0), (0.37, 0.5), (-17.5, 3.21)]


def pixels(height: int, width: int) -> Tensor:
    grid = torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy")
    return torch.stack(grid, dim=-1).double()


def scattered(count: int, extent: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return extent * (2 * torch.rand(1, count, 2, generator=generator, dtype=torch.float64) - 1)


def cosine_sum(white: Tensor, spectrum: str, positions: Tensor) -> Tensor:
    """ξ(x) = 1/N Σ_n w_n Σ_k √S_k·cos(k·(x - n)), S of mean 1: no FFT, no complex number, no pairing of channels."""
    height, width = white.shape[-2:]
    ky, kx = (2 * math.pi / n * (torch.arange(n, dtype=torch.float64) - n // 2) for n in (height, width))
    power = get_spectrum(spectrum).density(kx, ky[:, None])
    weight = (power / power.mean()).sqrt().flatten()
    k = torch.stack(torch.broadcast_tensors(kx, ky[:, None]), dim=-1).reshape(-1, 2)
    offset = positions.reshape(-1, 1, 2) - pixels(height, width).reshape(1, -1, 2)
    impulse_response = torch.cos(offset @ k.T) @ weight / (height * width)
    return (impulse_response @ white.flatten(1).T).T.unflatten(1, positions.shape[:-1])


@spectra
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_equals_a_plain_cosine_sum(spectrum: str, channels: int) -> None:
    size, padding = (5, 8), 3
    field = GaussianField(channels, size, spectrum, seed=(3, 1), padding=padding)
    white = standard_normal((3, 1), (channels, *lattice_size(size, (padding, padding))))
    positions = scattered(60, extent=40.0)
    assert (field(positions) - cosine_sum(white, spectrum, positions)).abs().max() < TRANSFORM


def test_white_field_on_the_integer_grid_is_the_planted_image() -> None:
    size, padding = (18, 31), 2
    height, width = lattice_size(size, (padding, padding))
    white = standard_normal(5, (3, height, width))
    field = GaussianField(3, size, "white", seed=5, padding=padding)
    assert (field(pixels(height, width)) - white).abs().max() < TRANSFORM
    assert (field.grid() - white[:, :18, :31]).abs().max() < 1e-6
    # Beyond the lattice the image repeats.
    assert (field(pixels(height, width) - torch.tensor([3 * width, height])) - white).abs().max() < TRANSFORM


@spectra
def test_grid_is_the_field_at_the_identity(spectrum: str) -> None:
    field = GaussianField(4, (21, 16), spectrum, seed=1)
    assert (field.grid() - field(pixels(21, 16))).abs().max() < TRANSFORM


def summed_over_periods(spectrum: str, d: Tensor, period: int) -> Tensor:
    """One axis's factor of the periodic kernel; the terms alternate in sign, and fall as 1/d."""
    images = d + period * (torch.arange(401, dtype=torch.float64) - 200)[:, None]
    return get_spectrum(spectrum).kernel(images, torch.zeros_like(images)).sum(dim=0)


@spectra
@pytest.mark.parametrize("shift", SHIFTS, ids=str)
def test_exact_covariance(spectrum: str, shift: tuple[float, float]) -> None:
    """Impulses planted one per channel give the matrix A of ξ = A·w, hence the covariance A·Aᵀ without sampling."""
    height, width = lattice_size((11, 14), (0, 0))
    impulses = torch.eye(height * width, dtype=torch.float64).unflatten(1, (height, width))
    points = (pixels(height, width) + torch.tensor(shift)).reshape(-1, 2)
    rows = Lattice(impulses, get_spectrum(spectrum)).at(points).T
    covariance = rows @ rows.T
    dx, dy = (points - points[0]).T
    expected = summed_over_periods(spectrum, dx, width) * summed_over_periods(spectrum, dy, height)
    # White is exact: the identity on any shifted grid. Else the unit variance of so small a lattice costs 0.0015.
    tolerance = TRANSFORM if spectrum == "white" else 2e-3
    assert (covariance[0] - expected).abs().max() < tolerance
    assert (covariance.diagonal() - 1).abs().max() < TRANSFORM
    if spectrum == "white":
        assert (covariance - torch.eye(height * width)).abs().max() < TRANSFORM


@spectra
def test_the_lattice_of_a_frame_has_the_kernel_of_the_plane(spectrum: str) -> None:
    """What periods and normalisation leave of a difference, on a 64-pixel frame with its default padding: 1e-4."""
    power = amplitude(get_spectrum(spectrum), lattice_size((64, 64), (32, 32))).square()
    covariance = torch.fft.ifft2(power).real[:64, :64]
    lag = torch.arange(64, dtype=torch.float64)
    assert (covariance - get_spectrum(spectrum).kernel(lag, lag[:, None])).abs().max() < 1e-4
    assert abs(covariance[0, 0] - 1) < 1e-14


@spectra
def test_monte_carlo_covariance_is_the_truncated_kernel(spectrum: str) -> None:
    """Standard error of a mean of n products of two unit normals with correlation κ: √((1 + κ²)/n) ≤ 0.01."""
    draws = 20_000
    origin = torch.tensor([5.3, 8.85])
    offsets = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.0], [0.6, -0.8], [1.0, 1.0], [2.5, 0.0]])
    values = GaussianField(draws, (16, 16), spectrum, seed=2)((origin + offsets)[None]).double()[:, 0]
    estimate = (values * values[:, :1]).mean(dim=0)
    kappa = get_spectrum(spectrum).kernel(*offsets.double().T)
    standard_error = ((1 + kappa**2) / draws).sqrt()
    assert ((estimate - kappa).abs() / standard_error).max() < SIGMAS
    assert (values.mean(dim=0).abs() * math.sqrt(draws)).max() < SIGMAS


@pytest.fixture(scope="module", params=SHIFTS, ids=str)
def white_frames(request: pytest.FixtureRequest) -> Tensor:
    """(8, 128, 128) of the white field on a grid shifted by so many pixels."""
    field = GaussianField(8, (128, 128), "white", seed=4)
    return field(pixels(128, 128) + torch.tensor(request.param)).double()


def test_white_neighbours_are_uncorrelated(white_frames: Tensor) -> None:
    """Standard error of the mean of n uncorrelated products: 1/√n = 0.0028."""
    a = white_frames
    pairs = [(a[..., 1:], a[..., :-1]), (a[..., 1:, :], a[..., :-1, :]), (a[..., 1:, 1:], a[..., :-1, :-1])]
    for left, right in pairs:
        assert (left * right).mean().abs() * math.sqrt(left.numel()) < SIGMAS


def test_white_spectrum_is_flat(white_frames: Tensor) -> None:
    """The mean of C periodograms is Gamma(C)/C at each of n/2 independent frequencies.

    Its logarithm has the mean ψ(C) - ln C and the variance ψ'(C): standard error √(ψ'(C)·2/n) = 0.004.
    """
    channels, frequencies = 8, 128 * 128
    periodogram = torch.fft.fft2(white_frames).abs().square().mean(dim=0) / frequencies
    expected = float(polygamma(0, channels)) - math.log(channels)
    standard_error = math.sqrt(float(polygamma(1, channels)) * 2 / frequencies)
    assert abs(periodogram.log().mean() - expected) < SIGMAS * standard_error
    # No band sticks out either: 16 x 16 blocks of 64 frequencies, 32 independent ones each, of mean 1.
    blocks = periodogram.unfold(0, 8, 8).unfold(1, 8, 8).mean(dim=(-1, -2))
    assert ((blocks - 1).abs() * math.sqrt(channels * 32)).max() < SIGMAS + 1  # the largest of 256


def test_white_values_are_standard_normal(white_frames: Tensor) -> None:
    """Kolmogorov's statistic is of order 1/√n = 0.0028; above 1.95/√n once in a thousand seeds."""
    n = white_frames.numel()
    assert kstest(white_frames.flatten().numpy(), "norm").statistic < 1.95 / math.sqrt(n)
    assert abs(white_frames.square().mean() - 1) < SIGMAS * math.sqrt(2 / n)


def test_the_lattice_is_odd() -> None:
    assert lattice_size((4, 5), (0, 0)) == (5, 5)
    assert lattice_size((4, 5), (3, 1)) == (11, 7)


def test_the_seed_alone_decides() -> None:
    at = scattered(30, extent=9.0)

    def draw(seed: int | tuple[int, ...], channels: int = 2) -> Tensor:
        return GaussianField(channels, (8, 8), seed=seed)(at)

    reference = draw(7)
    torch.manual_seed(0)
    assert torch.equal(reference, draw(7))
    assert torch.equal(reference, draw((7,)))
    # A zero more in the key is another key, which a plain seed sequence would not notice.
    others = [draw(seed) for seed in (8, (7, 0), (7, 0, 0), (7, 1), (0, 7), (7, 0, 1))]
    assert all(not torch.allclose(a, b, atol=0.1) for i, a in enumerate([reference, *others]) for b in others[i:])
    # More channels leave the first ones as they were.
    assert (draw(7, channels=5)[:2] - reference).abs().max() < TRANSFORM


def test_a_batch_equals_its_items_bit_for_bit() -> None:
    field = GaussianField(3, (12, 10), "squared-exponential")
    batch = torch.stack([scattered(120, 30.0, seed).reshape(12, 10, 2) for seed in range(6)]).unflatten(0, (2, 3))
    together = field(batch)
    assert together.shape == (2, 3, 3, 12, 10)
    assert together.dtype == torch.float32
    assert all(torch.equal(together[i, j], field(batch[i, j])) for i in range(2) for j in range(3))
    assert field(batch[:0]).shape == (0, 3, 3, 12, 10)


def test_positions_of_any_dtype_and_grid() -> None:
    field = GaussianField(2, (9, 9), seed=1)
    at = pixels(4, 6)
    assert field(at.float()).shape == (2, 4, 6)
    assert torch.equal(field(at.int()), field(at))
    assert GaussianField(1, (1, 1), padding=0)(at).unique().numel() == 1  # one mode: a constant
    assert not field(at.float().requires_grad_()).requires_grad


@pytest.mark.gpu
def test_the_device_changes_no_bit() -> None:
    field, at = GaussianField(2, (9, 9), seed=1), scattered(50, extent=9.0)
    on_device = field(at.cuda())
    assert on_device.is_cuda
    assert torch.equal(on_device.cpu(), field(at))


@pytest.mark.parametrize("shape", [(2,), (5, 2), (4, 4, 3), (2, 4, 4)])
def test_positions_of_a_wrong_shape_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"expected \(\.\.\., H, W, 2\)"):
        GaussianField(1, (4, 4))(torch.zeros(shape))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_positions_that_are_not_finite_are_an_error(bad: float) -> None:
    positions = torch.zeros(4, 4, 2)
    positions[1, 2, 0] = bad
    with pytest.raises(UserError, match="1 of 16 positions are not finite"):
        GaussianField(1, (4, 4))(positions)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels is 0"),
        ({"size": (0, 4)}, r"size is \(0, 4\)"),
        ({"padding": -1}, "padding is -1"),
        ({"spectrum": "pink"}, '"pink" is not known: choose one of white'),
        ({"representation": "wavelets"}, '"wavelets" is not known: choose one of lattice, random'),
        ({"seed": -1}, "seed is -1"),
        ({"seed": (3, -1)}, r"seed is \(3, -1\)"),
        ({"seed": ()}, r"seed is \(\)"),
        ({"seed": 0.5}, "seed is 0.5"),
    ],
)
def test_options_that_cannot_be_used_are_an_error(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        GaussianField(**{"channels": 1, "size": (4, 4), **options})
