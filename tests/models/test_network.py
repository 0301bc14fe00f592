"""The embedded network's parts, and its locality: no pixel hears of one beyond its reach, nor of the frame's size."""

import math

import pytest
import torch

from tests.models.tiny import randn, scatter
from warped_diffusion.models.network import Block, UNet, double, half, pixel_norm

DEPTH = {"channels": (4, 4, 4), "depths": (2, 2, 4), "depths_up": (3, 3, 0), "embedding": 8}
# Pixels from an output to the farthest input that it depends on, counted through every kernel of the shipped depth.
# What came through in float64 with random weights ended at 131: beyond that it drowned in rounding.
REACH = 147
ROUNDING = 1e-11  # float64; a convolution may add its terms in another order on a frame of another size


@pytest.fixture(scope="module")
def network():
    return scatter(UNet(6, 3, 16, **DEPTH).double())


@pytest.fixture(scope="module")
def frame():
    return randn(1, 6, 360, 384, seed=1, dtype=torch.float64)


@pytest.fixture(scope="module")
def output(network, frame):
    return network(frame, LABELS)


LABELS = randn(1, 16, seed=2, dtype=torch.float64)


def test_pixel_norm_gives_every_pixel_unit_mean_square_and_sees_no_other():
    x = randn(2, 64, 5, 7) * torch.linspace(0.5, 20, 7)
    y = pixel_norm(x)
    # eps = 1e-4 beside a mean square of at least .1
    torch.testing.assert_close(y.square().mean(1), torch.ones(2, 5, 7), rtol=0, atol=2e-3)
    torch.testing.assert_close(pixel_norm(x[..., 2:3, 3:4]), y[..., 2:3, 3:4], rtol=1e-6, atol=0)
    assert pixel_norm(torch.zeros(1, 3, 2, 2)).abs().max() == 0


def test_half_keeps_a_constant_on_the_interior():
    y = half(torch.full((1, 1, 16, 12), 0.7, dtype=torch.float64))
    assert y.shape == (1, 1, 8, 6)
    torch.testing.assert_close(y[..., 1:-1, 1:-1], torch.full((1, 1, 6, 4), 0.7, dtype=torch.float64))


@pytest.mark.parametrize("omega", [0.1, 1.0, math.pi / 2, 2.5, math.pi])
def test_half_is_the_binomial_low_pass_at_every_frequency(omega):
    """The filter's response is cos^3(omega / 2): a wave comes out smaller, read midway between pixels 2i and 2i + 1."""
    x = torch.cos(omega * torch.arange(64, dtype=torch.float64) + 0.3).expand(1, 1, 64, 64)
    between = torch.arange(1, 31, dtype=torch.float64) * 2 + 0.5
    expected = math.cos(omega / 2) ** 3 * torch.cos(omega * between + 0.3)
    torch.testing.assert_close(half(x)[0, 0, 5, 1:-1], expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(half(x.mT)[0, 0, 1:-1, 5], expected, rtol=0, atol=1e-12)


def test_double_is_four_times_the_transpose_of_half():
    x, y = randn(1, 2, 16, 20, dtype=torch.float64), randn(1, 2, 8, 10, seed=1, dtype=torch.float64)
    # at the edge one repeats and the other fills with zeros
    x[..., :2, :] = x[..., -2:, :] = x[..., :2] = x[..., -2:] = 0
    y[..., :1, :] = y[..., -1:, :] = y[..., :1] = y[..., -1:] = 0
    torch.testing.assert_close((half(x) * y).sum() * 4, (x * double(y)).sum(), rtol=1e-12, atol=0)


def test_a_fresh_block_is_the_identity_and_a_fresh_network_says_nothing():
    x = randn(2, 8, 16, 16)
    assert torch.equal(Block(8, 4)(x, randn(2, 4)), x)
    assert UNet(6, 3, 16, **DEPTH)(randn(1, 6, 16, 24), LABELS.float()).abs().max() == 0


def test_a_crop_gives_what_the_frame_gives_beyond_the_reach_of_its_border(network, frame, output):
    top, left, height, width = 24, 40, 320, 312  # whole strides, or the two grids of cells would not meet
    crop = network(frame[..., top : top + height, left : left + width], LABELS)
    same = slice(REACH + 1, height - REACH - 1), slice(REACH + 1, width - REACH - 1)
    expected = output[..., top : top + height, left : left + width]
    torch.testing.assert_close(crop[..., *same], expected[..., *same], rtol=0, atol=ROUNDING * output.std().item())
    near = (crop - expected)[..., 2:6, 2:6].abs().mean()
    assert near > 0.01 * output.std()  # the crop's border is felt where it should be


def test_one_changed_pixel_changes_nothing_beyond_the_reach(network, frame, output):
    for y, x in ((176, 176), (183, 183)):  # both ends of a cell of the coarsest level
        changed = frame.clone()
        changed[..., y, x] += 10
        moved = (network(changed, LABELS) - output).abs().amax((0, 1)).nonzero()
        assert (moved - torch.tensor([y, x])).abs().max() <= REACH


def test_a_shift_by_the_stride_is_an_exact_symmetry_and_by_one_pixel_is_not(network, frame, output):
    inner = slice(REACH + 9, -REACH - 9)

    def shifted_back(pixels):
        moved = network(torch.roll(frame, (pixels, pixels), (-2, -1)), LABELS)
        return torch.roll(moved, (-pixels, -pixels), (-2, -1))[..., inner, inner]

    expected = output[..., inner, inner]
    assert network.stride == 8
    torch.testing.assert_close(shifted_back(8), expected, rtol=0, atol=ROUNDING * output.std().item())
    assert (shifted_back(1) - expected).abs().max() > 1e-3 * output.std()
