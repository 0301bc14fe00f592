"""What moving noise like a picture does to it, exactly: averages that lose variance, and values shown twice."""

import math

import pytest
import torch
from torch import Tensor

from warped_diffusion.flow import identity_map
from warped_diffusion.noise import SPECTRA, GaussianField, make_scheme
from warped_diffusion.noise.lattice import amplitude

SIZE = (64, 48)
ROUNDING = 1e-6
SIGMAS = 4.0

spectra = pytest.mark.parametrize("spectrum", list(SPECTRA))


def canvas(spectrum: str = "white", channels: int = 3) -> Tensor:
    return GaussianField(channels, SIZE, spectrum, seed=(2, 0)).canvas()


def read(name: str, positions: Tensor, spectrum: str = "white", channels: int = 3) -> Tensor:
    return make_scheme(name, channels=channels, size=SIZE, spectrum=spectrum, seed=2).frame(1, positions)


@spectra
def test_the_canvas_begins_with_the_frame_and_repeats(spectrum: str) -> None:
    field = GaussianField(3, SIZE, spectrum, seed=(2, 0))
    height, width = canvas(spectrum).shape[-2:]
    assert (height, width) == (129, 97)  # twice the frame, odd
    assert torch.allclose(canvas(spectrum)[:, : SIZE[0], : SIZE[1]], field.grid(), atol=ROUNDING)
    x, y = torch.tensor([96, -1, 200]), torch.tensor([-130, 128, 70])
    expected = field(torch.stack([x, y], -1)[None].double())[:, 0]
    assert (canvas(spectrum)[:, y % height, x % width] - expected).abs().max() < 2 * ROUNDING


@spectra
def test_bilinear_noise_half_a_pixel_away_is_the_mean_of_four(spectrum: str) -> None:
    c = canvas(spectrum)
    mean = (c + c.roll(-1, -1) + c.roll(-1, -2) + c.roll((-1, -1), (-1, -2))) / 4
    noise = read("bilinear", identity_map(*SIZE) + 0.5, spectrum)
    assert (noise - mean[:, : SIZE[0], : SIZE[1]]).abs().max() < ROUNDING


@pytest.mark.parametrize(("right", "down"), [(0.5, 0.5), (0.5, 0.0), (0.25, 0.4), (0.0, 0.0)])
def test_bilinear_noise_loses_variance(right: float, down: float) -> None:
    """(1 − 2f(1 − f)) along each axis: 1/4 half-way both ways, exactly so for the whole period's covariance.

    By sampling too: the standard error over n values whose neighbours share up to three others is below 3·√(2/n).
    """
    kept = math.prod(1 - 2 * f * (1 - f) for f in (right, down))
    noise = read("bilinear", identity_map(*SIZE) + torch.tensor([right, down]), channels=32)
    assert abs(float(noise.square().mean()) / kept - 1) < SIGMAS * 3 * math.sqrt(2 / noise.numel())
    size = (129, 97)
    ky, kx = (2 * math.pi * torch.fft.fftfreq(n, dtype=torch.float64) for n in size)
    response = (1 - right + right * torch.exp(1j * kx)) * (1 - down + down * torch.exp(1j * ky))[:, None]
    power = amplitude(SPECTRA["white"], size).square() * response.abs().square()
    assert abs(float(power.mean()) - kept) < 1e-12


def test_nearest_noise_is_the_pixel_that_is_nearest() -> None:
    # Whole and half pixels: half-way goes up, all along the line, so that a shift by half a pixel is a shift.
    c = canvas()
    for shift, pixel in ((0.0, 0), (0.49, 0), (0.5, 1), (-0.5, 0), (-0.51, -1)):
        noise = read("nearest", identity_map(*SIZE) + shift)
        assert torch.equal(noise, c.roll((-pixel, -pixel), (-1, -2))[:, : SIZE[0], : SIZE[1]])


def test_nearest_noise_of_a_picture_that_grows_shows_values_twice() -> None:
    """Enlarged twofold every value fills four pixels: neighbours are equal, so half of all pairs correlate by 1."""
    noise = read("nearest", identity_map(*SIZE) / 2 - 0.25)
    blocks = noise.unfold(1, 2, 2).unfold(2, 2, 2)
    assert torch.equal(blocks, blocks[..., :1, :1].expand_as(blocks))
    pairs = noise[..., 1:] * noise[..., :-1]
    n = blocks[..., 0, 0].numel()
    assert abs(float(pairs.mean()) - 24 / 47) < SIGMAS * math.sqrt(3 / n)  # 24 of 47 pairs lie within a block
