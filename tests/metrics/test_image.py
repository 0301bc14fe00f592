"""Image measures against closed forms and independent slow versions."""

import math

import pytest
import torch

from warped_diffusion.errors import ShapeError
from warped_diffusion.metrics import high_frequency_energy, mse, psnr, spectral_flatness

EXACT = {"rtol": 1e-12, "atol": 1e-12}  # float64 rounding


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_mse_and_psnr_of_a_constant_offset():
    frames = torch.full((2, 3, 4, 5), 0.5)
    other = frames + torch.tensor([0.1, 0.01]).reshape(2, 1, 1, 1)
    torch.testing.assert_close(mse(frames, other), torch.tensor([1e-2, 1e-4]).double(), rtol=1e-5, atol=0)
    torch.testing.assert_close(psnr(frames, other), torch.tensor([20.0, 40.0]).double(), rtol=1e-5, atol=0)


def test_psnr_of_equal_frames_is_infinite():
    assert psnr(torch.zeros(3, 4, 4), torch.zeros(3, 4, 4)) == math.inf


def test_mse_counts_masked_pixels_only(generator):
    frames, other = torch.rand(2, 2, 3, 4, 5, generator=generator)
    mask = torch.rand(2, 4, 5, generator=generator) > 0.5
    by_hand = [(frames[n] - other[n]).double().square()[:, mask[n]].mean() for n in range(2)]
    torch.testing.assert_close(mse(frames, other, mask), torch.stack(by_hand), rtol=1e-6, atol=0)
    torch.testing.assert_close(mse(frames, other, torch.ones(4, 5)), mse(frames, other), **EXACT)
    assert mse(frames, other, torch.zeros(4, 5)).isnan().all()


def test_high_frequency_energy_against_a_loop(generator):
    frames = torch.rand(2, 3, 5, 6, generator=generator, dtype=torch.float64)
    for frame, energy in zip(frames, high_frequency_energy(frames), strict=True):
        squares = [
            (c[y, x] - (c[y - 1, x] + c[y + 1, x] + c[y, x - 1] + c[y, x + 1]) / 4) ** 2
            for c in frame
            for y in range(1, 4)
            for x in range(1, 5)
        ]
        torch.testing.assert_close(energy, torch.stack(squares).mean(), **EXACT)


def test_high_frequency_energy_under_a_mask_is_that_of_its_interior_pixels(generator):
    frames = torch.rand(2, 3, 7, 8, generator=generator, dtype=torch.float64)
    mask = torch.zeros(2, 7, 8, dtype=torch.bool)
    mask[0, 2:5, 3:7] = True
    mask[1, 0] = True  # none of the frame's border has four neighbours
    within, none = high_frequency_energy(frames, mask)
    torch.testing.assert_close(within, high_frequency_energy(frames[0, :, 1:6, 2:8]), **EXACT)
    assert none.isnan()
    with pytest.raises(ShapeError, match=r"mask is \(5, 6\)"):
        high_frequency_energy(frames, mask[0, 1:-1, 1:-1])


def test_high_frequency_energy_of_plane_wave_and_noise(generator):
    y, x = torch.meshgrid(torch.arange(64.0).double(), torch.arange(64.0).double(), indexing="ij")
    plane = 0.3 * x - 0.7 * y + 2
    assert high_frequency_energy(plane[None]) < 1e-24  # squared float64 rounding
    checkerboard = (-1.0) ** (x + y)  # every neighbour is the negative of the pixel
    torch.testing.assert_close(high_frequency_energy(checkerboard[None]), torch.tensor(4.0).double(), **EXACT)
    noise = torch.randn(64, 64, 64, generator=generator)
    # The standard error of the mean, neighbours' correlation included, is below 0.005 for 64³ values.
    assert abs(high_frequency_energy(noise) - 1.25) < 0.02


@pytest.mark.parametrize("size", [(32, 32), (31, 33), (5, 4), (4, 4)])
@pytest.mark.parametrize("channels", [1, 4])
def test_flatness_of_independent_noise_is_one(generator, channels, size):
    frames = torch.randn(2000, channels, *size, generator=generator)
    # In logarithms the expectation is exact at every size: by Parseval the periodogram's arithmetic mean is that of the
    # squared pixels times their number, and its geometric mean is expected at 1 × the number of pixels.
    energy = frames.double().square().mean((-3, -2, -1))
    logs = spectral_flatness(frames).log() + energy.log()
    assert logs.mean().abs() < 4 * logs.std() / 2000**0.5


def test_flatness_of_four_channels_before_it_is_made_relative(generator):
    frame = torch.randn(4, 256, 256, generator=generator)
    power = torch.fft.fft2(frame.double()).abs().square().mean(0)
    absolute = power.log().mean().exp() / power.mean()
    torch.testing.assert_close(absolute / spectral_flatness(frame), torch.tensor(0.878).double(), rtol=1e-3, atol=0)


def test_flatness_of_a_filter_is_the_geometric_mean_of_its_response(generator):
    noise = torch.randn(4, 128, 128, generator=generator)
    blurred = noise + 0.5 * noise.roll(1, -1)  # |1 + ½ e^{ik}|²: geometric mean 1, arithmetic mean 1.25
    torch.testing.assert_close(spectral_flatness(blurred), torch.tensor(1 / 1.25).double(), rtol=0.02, atol=0)


def test_a_batch_equals_its_items(generator):
    frames = torch.rand(2, 3, 3, 8, 9, generator=generator)
    for measure in (high_frequency_energy, spectral_flatness):
        together = measure(frames)
        assert together.shape == (2, 3)
        alone = torch.stack([torch.stack([measure(frame) for frame in clip]) for clip in frames])
        torch.testing.assert_close(together, alone, **EXACT)


def test_errors_name_the_shapes():
    with pytest.raises(ShapeError, match=r"frames are \(3, 4, 4\), reference is \(3, 4, 5\)"):
        mse(torch.zeros(3, 4, 4), torch.zeros(3, 4, 5))
    with pytest.raises(ShapeError, match=r"mask is \(4, 5\)"):
        psnr(torch.zeros(3, 4, 4), torch.zeros(3, 4, 4), torch.zeros(4, 5))
    with pytest.raises(ShapeError, match="at least 3×3"):
        high_frequency_energy(torch.zeros(3, 2, 9))
    with pytest.raises(ShapeError, match="give"):
        spectral_flatness(torch.zeros(9, 9))
