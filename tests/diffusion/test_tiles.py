"""Tiles: what is local is the same in them, to rounding, and their weights sum to one everywhere."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from tests.diffusion.toy import randn
from warped_diffusion.diffusion import Tiled, TiledCodec, Tiling, choose_tiling
from warped_diffusion.errors import ShapeError, UserError

TILING = Tiling(side=32, overlap=16)
REACH = TILING.overlap // 4
SIZE = (50, 107)
"""Cells; neither is a multiple of anything."""

ROUNDING = {"rtol": 0, "atol": 1e-6}
"""float32: sums of up to four estimates of size one."""


@pytest.mark.parametrize("length", [1, 31, 32, 33, 47, 48, 49, 64, 100, 107, 333])
@pytest.mark.parametrize("tiling", [TILING, Tiling(40, 8), Tiling(32, 8, limit=48)])
def test_spans_cover_an_axis_in_order_and_overlap_enough(tiling, length):
    spans = tiling.spans(length)
    assert spans[0][0] == 0
    assert spans[-1][1] == length
    if length <= max(tiling.side, tiling.limit or 0):
        assert len(spans) == 1
    for (start, stop), (start_next, stop_next) in pairwise(spans):
        assert start_next % 8 == 0
        assert stop - start <= tiling.side
        assert stop - start_next >= tiling.overlap
        assert stop <= stop_next


def test_spans_are_as_few_as_will_do():
    assert TILING.spans(48) == [(0, 32), (16, 48)]
    assert TILING.spans(64) == [(0, 32), (16, 48), (32, 64)]
    assert len(Tiling(1024, 128, limit=1536).spans(1920)) == 2


@pytest.mark.parametrize("factor", [1, 4])
def test_weights_sum_to_one_and_begin_a_quarter_of_the_overlap_inside(factor):
    total = torch.zeros(SIZE[0] * factor, SIZE[1] * factor)
    for rows, columns, weight in TILING.tiles(SIZE, factor):
        total[rows, columns] += weight
        assert (weight >= 0).all()
        unknown = weight[: REACH * factor] if rows.start else weight[-REACH * factor :]
        assert not unknown.any()
    torch.testing.assert_close(total, torch.ones_like(total), **ROUNDING)


def blurred(noisy, sigma, condition):
    """A network that sees `REACH` cells around each and takes what is beyond the frame for nothing; it looks at all
    that it is told."""
    side = 2 * REACH + 1
    x = noisy + condition["picture"] + F.interpolate(condition["small"], size=noisy.shape[-2:])
    kernel = randn(1, 1, side, side, seed=1).to(x) / side
    planes = F.conv2d(x.flatten(0, 1)[:, None], kernel, padding=REACH).reshape(x.shape)
    return planes * sigma[:, None, None, None] + condition["scale"][:, None, None, None]


def told(size, batch=2):
    height, width = size
    return {
        "picture": randn(batch, 3, height, width, seed=2).float(),
        "small": randn(batch, 3, height // 2, width // 2, seed=3).float(),
        "scale": torch.arange(1.0, batch + 1),
    }


def test_what_is_local_is_the_same_in_tiles():
    size = (48, 96)
    noisy, sigma = randn(2, 3, *size, seed=4).float(), torch.tensor([0.5, 2.0])
    whole = blurred(noisy, sigma, told(size))
    asked = []

    def watched(noisy, sigma, condition):
        asked.append(tuple(noisy.shape[-2:]))
        return blurred(noisy, sigma, condition)

    tiled = Tiled(watched, TILING)(noisy, sigma, told(size))
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)
    assert len(asked) == 10
    assert all(max(shape) <= TILING.side for shape in asked)


def test_what_reaches_farther_than_a_quarter_of_the_overlap_is_not():
    size = (48, 96)
    noisy, sigma = randn(2, 3, *size, seed=4).float(), torch.tensor([0.5, 2.0])
    short = Tiling(side=32, overlap=8)
    assert (Tiled(blurred, short)(noisy, sigma, told(size)) - blurred(noisy, sigma, told(size))).abs().max() > 1e-2


def test_a_small_frame_goes_whole():
    noisy, sigma = randn(1, 3, 32, 30, seed=4).float(), torch.ones(1)
    condition = told((32, 30), 1)
    assert torch.equal(Tiled(blurred, TILING)(noisy, sigma, condition), blurred(noisy, sigma, condition))


def test_gradients_go_through_tiles():
    size = (48, 64)
    noisy, sigma = randn(1, 3, *size, seed=4).float().requires_grad_(), torch.ones(1)
    direction = randn(1, 3, *size, seed=5).float()
    (whole,) = torch.autograd.grad(blurred(noisy, sigma, told(size, 1)), noisy, direction)
    (tiled,) = torch.autograd.grad(Tiled(blurred, TILING)(noisy, sigma, told(size, 1)), noisy, direction)
    # what lies beyond a tile's cut edge speaks through its neighbour alone
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


def test_a_condition_that_tiles_do_not_fall_on_is_refused():
    condition = told((48, 96)) | {"odd": torch.zeros(2, 3, 7, 11)}
    with pytest.raises(ShapeError, match=r"on a grid of \(7, 11\) cannot be cut"):
        Tiled(blurred, TILING)(torch.zeros(2, 3, 48, 96), torch.ones(2), condition)


class Unshuffled:
    """Latents are 4 x 4 pixels' values after a blur of 3 pixels, and back again: both see one pixel beyond a cell."""

    factor, channels = 4, 48

    def encode(self, pictures):
        assert max(pictures.shape[-2:]) <= 32 * self.factor
        return F.pixel_unshuffle(self.blur(pictures), self.factor)

    def decode(self, latents):
        assert max(latents.shape[-2:]) <= 32
        return self.blur(F.pixel_shuffle(latents, self.factor))

    def blur(self, pictures):
        return F.avg_pool2d(pictures, 3, 1, 1)


def test_a_codec_in_tiles_is_the_codec():
    pictures = randn(2, 3, SIZE[0] * 4, SIZE[1] * 4, seed=6).float()
    codec, tiled = Unshuffled(), TiledCodec(Unshuffled(), TILING)
    latents = F.pixel_unshuffle(codec.blur(pictures), 4)
    torch.testing.assert_close(tiled.encode(pictures), latents, **ROUNDING)
    torch.testing.assert_close(tiled.decode(latents), codec.blur(F.pixel_shuffle(latents, 4)), **ROUNDING)
    assert (tiled.factor, tiled.channels) == (4, 48)


def test_how_a_tiling_is_chosen():
    assert choose_tiling("none", 512) is None
    assert choose_tiling("auto", None) is None
    assert choose_tiling("auto", 1024) == Tiling(1024, 128, 1536)
    assert choose_tiling("auto", 1024, 8) == Tiling(128, 32, 192)
    assert choose_tiling(512, None, 8) == choose_tiling(575, None, 8) == Tiling(64, 16)
    for tile in (True, "large", 127, 0):
        with pytest.raises(UserError, match="a side of at least 128 pixels here"):
            choose_tiling(tile, 1024, 8)


@pytest.mark.parametrize(("side", "overlap"), [(8, 8), (37, 8), (32, 12), (32, 24), (32, 0)])
def test_unusable_tilings_are_refused(side, overlap):
    with pytest.raises(UserError, match="sides of 16 cells or more"):
        Tiling(side, overlap)
