"""The quintic spline against polynomials and waves."""

import math

import pytest
import torch

from warped_diffusion.errors import ShapeError
from warped_diffusion.metrics.spline import sample_spline


def grid(height, width):
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    return torch.stack((x, y), -1)


def test_integer_positions_give_the_pixels():
    image = torch.rand(3, 7, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sample_spline(image, grid(7, 9)), image.double(), rtol=0, atol=1e-12)


def test_polynomials_of_degree_five_are_exact_inside():
    def polynomial(positions):
        x, y = (positions / 32 - 1).unbind(-1)
        return x**5 - 2 * x**2 * y**3 + y - 0.5

    positions = 25 + 14 * torch.rand(50, 2, generator=torch.Generator().manual_seed(0)).double()
    # The mirrored border is felt as 0.43^distance: 25 pixels leave 1e-9.
    image = polynomial(grid(64, 64))[None]
    torch.testing.assert_close(sample_spline(image, positions)[0], polynomial(positions), rtol=0, atol=1e-8)


@pytest.mark.parametrize(("nyquist", "response"), [(0.25, 1.0), (0.58, 0.99), (0.7, 0.952)])
def test_waves_half_way_between_pixels_keep_the_stated_amplitude(nyquist, response):
    positions = grid(1, 200)
    wave = torch.cos(math.pi * nyquist * (positions[..., 0] - 100.5))
    image = wave.expand(40, 200)[None]
    value = sample_spline(image, torch.tensor([[100.5, 20.0]]))
    torch.testing.assert_close(value, torch.tensor([[response]]).double(), rtol=0, atol=2e-3)


def test_errors_name_the_shapes():
    with pytest.raises(ShapeError, match=r"image is \(7, 9\), positions are \(7, 9, 2\)"):
        sample_spline(torch.zeros(7, 9), grid(7, 9))
