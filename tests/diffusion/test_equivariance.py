"""A denoiser that commutes with a motion gives a chain that commutes with it.                  [paper, appendix 8.3]"""

import pytest
import torch

from tests.diffusion.toy import SIGMAS, randn
from warped_diffusion.diffusion import SOLVERS, FrameInput, Link, NetworkGuidance, make_guidance, sample
from warped_diffusion.flow.kernels import Warp
from warped_diffusion.flow.maps import identity_map

SIZE = (16, 18)
EVERY_SOLVER = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)


def rolling_denoiser(noisy, sigma, condition):
    """A circular, non-linear convolution of rolls, sums, products and a clamp: these round alike at every pixel."""
    blurred = sum(
        weight * noisy.roll((y, x), dims=(-2, -1)) for weight, y, x in [(0.4, 0, 0), (0.3, 1, -2), (-0.2, -3, 1)]
    )
    return blurred.clamp(-0.8, 0.9) / (1 + sigma[:, None, None, None])


def spectral_denoiser(noisy, sigma, condition):
    """A circular, linear convolution given by its transfer function: it commutes with sub-pixel shifts as well."""
    transfer = torch.fft.rfft2(randn(*SIZE, seed=5)).abs() / 20
    filtered = torch.fft.irfft2(torch.fft.rfft2(noisy) * transfer, s=SIZE)
    return filtered / (1 + sigma[:, None, None, None])


def shift(image, dx, dy):
    """The band-limited image moved by (dx, dy) pixels: out(x) = image(x - d)."""
    ky = 2 * torch.pi * torch.fft.fftfreq(SIZE[0], dtype=torch.float64)[:, None]
    kx = 2 * torch.pi * torch.fft.rfftfreq(SIZE[1], dtype=torch.float64)
    phase = torch.exp(-1j * (kx * dx + ky * dy))
    phase[SIZE[0] // 2], phase[:, SIZE[1] // 2] = 0, 0  # the Nyquist modes have no sub-pixel shift
    return torch.fft.irfft2(torch.fft.rfft2(image) * phase, s=SIZE)


@EVERY_SOLVER
def test_whole_pixel_shifts_to_the_last_bit(solver):
    noise = randn(3, *SIZE, seed=0)
    frames = [FrameInput(noise), FrameInput(noise.roll((2, -5), dims=(-2, -1)))]
    first, second = sample(rolling_denoiser, frames, SIGMAS, solver, make_guidance("none"), lanes=2)
    assert torch.equal(second, first.roll((2, -5), dims=(-2, -1)))


@EVERY_SOLVER
def test_sub_pixel_shifts(solver):
    noise = shift(randn(3, *SIZE, seed=0), 0, 0)  # its Nyquist modes removed
    frames = [FrameInput(noise), FrameInput(shift(noise, 0.37, -1.61))]
    first, second = sample(spectral_denoiser, frames, SIGMAS, solver, make_guidance("none"), lanes=2)
    torch.testing.assert_close(second, shift(first, 0.37, -1.61), rtol=0, atol=1e-12)


@EVERY_SOLVER
@pytest.mark.parametrize("guidance", [NetworkGuidance(variant="literal"), make_guidance("denoised")])
def test_guidance_leaves_an_equivariant_chain_alone(solver, guidance):
    """With e = 0 the printed step is 0 / 0: it must do nothing. Bilinear weights of whole pixels are just 0 and 1."""
    noise = randn(3, *SIZE, seed=0)
    forward = identity_map(*SIZE, dtype=torch.float64) + torch.tensor([-5.0, 2.0])
    warp = Warp(forward, SIZE, "bilinear")
    link = Link(0, warp, warp.inside.double(), torch.ones(SIZE, dtype=torch.float64))
    moved = noise.roll((2, -5), dims=(-2, -1))
    first, second = sample(
        rolling_denoiser, [FrameInput(noise), FrameInput(moved, links=(link,))], SIGMAS, solver, guidance, lanes=2
    )
    assert torch.equal(second, first.roll((2, -5), dims=(-2, -1)))
