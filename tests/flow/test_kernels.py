"""The sampling operator: adjoints, an independent dense oracle, constants, bands, decimation, derivatives."""

import math

import pytest
import torch

from tests.flow.similarity import Similarity, wild_map
from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.flow import KERNELS, Warp, identity_map, kernels, sample

PICTURE = (13, 17)
GRID = (11, 19)
# float64 round-off of sums of a few hundred products.
ROUND_OFF = 1e-11


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weight_at(kernel, distance):
    if kernel == "bilinear":
        return max(0.0, 1 - abs(distance))
    if distance == 0:
        return 1.0
    d = math.pi * distance
    return math.sin(d) / d * math.sin(d / 3) / (d / 3) if abs(distance) < 3 else 0.0


def slow_row(kernel, position, size):
    """Weights of one position over the whole picture, pixel by pixel: out-of-frame taps dropped, the rest sum to 1."""
    x, y = position.tolist()
    if not (-0.5 <= x < size[1] - 0.5 and -0.5 <= y < size[0] - 0.5):
        return torch.zeros(size, dtype=torch.float64)
    down = torch.tensor([weight_at(kernel, j - y) for j in range(size[0])], dtype=torch.float64)
    across = torch.tensor([weight_at(kernel, i - x) for i in range(size[1])], dtype=torch.float64)
    row = down[:, None] * across
    return row / row.sum()


@pytest.mark.parametrize("kernel", ["bilinear", "lanczos3"])
def test_apply_is_the_slow_loop_inside_at_the_border_and_beyond(kernel):
    positions = wild_map(GRID)
    image = random(2, *PICTURE)
    out = Warp(positions, PICTURE, kernel, widen=False).apply(image)
    for row in range(GRID[0]):
        for column in range(GRID[1]):
            expected = (slow_row(kernel, positions[row, column], PICTURE) * image).sum((-1, -2))
            torch.testing.assert_close(out[:, row, column], expected, atol=ROUND_OFF, rtol=0)


def test_nearest_picks_the_pixel_whose_cell_holds_the_position():
    positions = torch.tensor([[[1.49, 0.0], [1.5, 0.0], [-0.5, 2.4], [3.5, 0.0], [2.0, -0.6]]])
    image = torch.arange(12.0).reshape(1, 3, 4)
    warp = Warp(positions, (3, 4), "nearest")
    assert warp.apply(image).flatten().tolist() == [1.0, 2.0, 8.0, 0.0, 0.0]
    assert warp.inside.flatten().tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("widen", [True, False])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_adjoint_is_the_adjoint(kernel, widen):
    warp = Warp(wild_map(GRID, spread=2.0), PICTURE, kernel, widen)
    image, values = random(3, *PICTURE), random(3, *GRID, seed=1)
    left = (warp.apply(image) * values).sum()
    right = (image * warp.adjoint(values)).sum()
    assert abs(left - right) < ROUND_OFF * left.abs().clamp(min=1)


@pytest.mark.parametrize("kernel", KERNELS)
def test_zero_flow_is_the_identity(kernel):
    image = torch.rand(3, *PICTURE, generator=torch.Generator().manual_seed(0))
    warp = Warp(identity_map(*PICTURE), PICTURE, kernel)
    # Lanczos in float32 leaves sinc(1) = 3e-8 where it should be 0.
    torch.testing.assert_close(warp.apply(image), image, atol=1e-6, rtol=0)
    torch.testing.assert_close(warp.adjoint(image), image, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kernel", KERNELS)
def test_an_integer_flow_is_a_shift_and_leaves_nothing_beyond_the_frame(kernel):
    image = random(3, *PICTURE)
    out = Warp(identity_map(*PICTURE, dtype=torch.float64) + 4.0, PICTURE, kernel).apply(image)
    torch.testing.assert_close(out[:, :-4, :-4], image[:, 4:, 4:], atol=ROUND_OFF, rtol=0)
    assert out[:, -4:].abs().max() == 0
    assert out[:, :, -4:].abs().max() == 0


@pytest.mark.parametrize("kernel", KERNELS)
def test_constants_stay_wherever_the_position_is_inside(kernel):
    warp = Warp(wild_map(GRID, dtype=torch.float32), PICTURE, kernel)
    assert 0.2 < warp.inside.float().mean() < 0.9
    torch.testing.assert_close(warp.apply(torch.ones(1, *PICTURE))[0], warp.inside.float(), atol=1e-6, rtol=0)


def wave(positions, k):
    return torch.cos(k * (positions[..., 0] * 0.8 + positions[..., 1] * 0.6))


# Largest error over sub-pixel phases of a wave of that many radians a pixel, measured: .0095, .0118, .037; the bilinear
# kernel's is .019, .075, .28.
@pytest.mark.parametrize(("k", "error"), [(math.pi / 8, 0.011), (math.pi / 4, 0.013), (math.pi / 2, 0.04)])
def test_lanczos3_reproduces_band_limited_waves(k, error):
    size = (40, 44)
    there = Similarity(size, shift=(0.37, -0.61), degrees=7.0, zoom=0.99).iterate(1)
    image = wave(identity_map(*size, dtype=torch.float64), k)
    interior = slice(6, -6)
    out = Warp(there, size).apply(image[None])[0]
    assert (out - wave(there, k))[interior, interior].abs().max() < error


def test_where_the_map_decimates_the_widened_kernel_does_not_alias():
    size = (96, 96)
    image = torch.cos(0.9 * math.pi * identity_map(*size, dtype=torch.float64)[..., 0])[None]
    there = identity_map(40, 40, dtype=torch.float64) * 2 + 8
    interior = (slice(None), slice(5, -5), slice(5, -5))
    assert Warp(there, size, widen=False).apply(image)[interior].abs().max() > 0.9
    assert Warp(there, size).apply(image)[interior].abs().max() < 0.005
    # What lies under the new grid's own Nyquist rate passes.
    slow = torch.cos(0.2 * math.pi * identity_map(*size, dtype=torch.float64)[..., 0])[None]
    expected = torch.cos(0.2 * math.pi * there[..., 0])[None]
    assert (Warp(there, size).apply(slow) - expected)[interior].abs().max() < 0.02


def test_one_axis_may_decimate_alone_and_a_rotation_does_not():
    size = (48, 96)
    rows = torch.cos(0.9 * math.pi * identity_map(*size, dtype=torch.float64)[..., 1])[None]
    there = identity_map(48, 40, dtype=torch.float64) * torch.tensor([2.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(Warp(there, size).apply(rows), rows[..., :40], atol=1e-6, rtol=0)
    turned = Similarity(size, degrees=30.0).iterate(1)
    image = random(1, *size)
    assert torch.equal(Warp(turned, size).apply(image), Warp(turned, size, widen=False).apply(image))


@pytest.mark.parametrize("kernel", KERNELS)
def test_derivatives_of_both_directions(kernel):
    warp = Warp(wild_map((4, 5)) / 3, (6, 5), kernel)
    assert torch.autograd.gradcheck(warp.apply, random(2, 6, 5).requires_grad_())
    assert torch.autograd.gradcheck(warp.adjoint, random(2, 4, 5).requires_grad_())
    assert torch.autograd.gradgradcheck(warp.apply, random(1, 6, 5).requires_grad_())


def test_leading_dimensions_are_items():
    warp = Warp(wild_map(GRID), PICTURE)
    images = random(2, 3, *PICTURE)
    assert warp.apply(images).shape == (2, 3, *GRID)
    torch.testing.assert_close(warp.apply(images)[1], warp.apply(images[1]), atol=ROUND_OFF, rtol=0)
    torch.testing.assert_close(warp.apply(images[0, 0]), warp.apply(images)[0, 0], atol=ROUND_OFF, rtol=0)


def test_half_precision_pictures_are_sampled_in_the_precision_of_the_positions():
    warp = Warp(wild_map(GRID, dtype=torch.float32), PICTURE)
    image = random(3, *PICTURE).to(torch.bfloat16).requires_grad_()
    out = warp.apply(image)
    assert out.dtype == torch.float32
    out.sum().backward()
    assert image.grad is not None
    assert image.grad.dtype == torch.bfloat16


def test_a_map_that_is_nowhere_inside_or_not_a_number_gives_zeros():
    far = identity_map(*GRID) + 1000
    assert Warp(far, PICTURE).apply(torch.ones(1, *PICTURE)).abs().max() == 0
    assert Warp(far, PICTURE).adjoint(torch.ones(1, *GRID)).abs().max() == 0
    broken = identity_map(*PICTURE)
    broken[3, 4] = float("nan")
    out = Warp(broken, PICTURE).apply(torch.ones(1, *PICTURE))[0]
    assert out[3, 4] == 0
    assert out.sum() == pytest.approx(PICTURE[0] * PICTURE[1] - 1)


def test_sample_shows_the_edge_beyond_the_frame_and_takes_batches():
    image = random(2, 3, *PICTURE)
    there = torch.stack([identity_map(*PICTURE, dtype=torch.float64) + shift for shift in (-5.0, 30.0)])
    out = sample(image, there)
    torch.testing.assert_close(out[0, :, 5:, 5:], image[0, :, :-5, :-5], atol=ROUND_OFF, rtol=0)
    torch.testing.assert_close(out[0, :, :5, :5], image[0, :, :1, :1].expand(-1, 5, 5), atol=ROUND_OFF, rtol=0)
    torch.testing.assert_close(out[1], image[1, :, -1:, -1:].expand(-1, *PICTURE), atol=ROUND_OFF, rtol=0)
    torch.testing.assert_close(sample(image, there[0]), sample(image, there[:1].expand(2, -1, -1, -1)))


def test_errors_name_what_came():
    with pytest.raises(UserError, match=r"'cubic'.*nearest, bilinear, lanczos3"):
        Warp(identity_map(4, 4), (4, 4), "cubic")
    with pytest.raises(ShapeError, match=r"\(2, 4, 4, 2\)"):
        Warp(torch.zeros(2, 4, 4, 2), (4, 4))
    warp = Warp(identity_map(4, 5), (6, 7))
    with pytest.raises(ShapeError, match=r"\(1, 4, 5\).*6, 7"):
        warp.apply(torch.zeros(1, 4, 5))
    with pytest.raises(ShapeError, match=r"\(1, 6, 7\).*4, 5"):
        warp.adjoint(torch.zeros(1, 6, 7))
    with pytest.raises(ShapeError, match="one map per image"):
        sample(torch.zeros(3, 4, 5), torch.zeros(2, 4, 5, 2))


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_device_makes_no_difference(kernel):
    positions, image = wild_map(GRID, dtype=torch.float32), random(3, *PICTURE).float()
    here, there = Warp(positions, PICTURE, kernel), Warp(positions.cuda(), PICTURE, kernel)
    values = here.apply(image)
    torch.testing.assert_close(there.apply(image.cuda()).cpu(), values, atol=1e-5, rtol=0)
    torch.testing.assert_close(there.adjoint(values.cuda()).cpu(), here.adjoint(values), atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_by_mkl_are_those_of_embedding_bag(channels, dtype, monkeypatch):
    """To the rounding of sums of a few hundred terms, on a map that stretches, folds and leads out of the picture."""
    warp, image = Warp(wild_map(GRID).to(dtype), PICTURE), random(channels, *PICTURE).to(dtype)
    values = random(channels, *GRID, seed=1).to(dtype)
    if torch.backends.mkl.is_available():
        matrix = warp._bags._matrix
        assert matrix.values().data_ptr() == warp._bags.weight.data_ptr()  # the weights are not kept twice
    found = warp.apply(image), warp.adjoint(values)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    plain = Warp(wild_map(GRID).to(dtype), PICTURE)
    for one, other in zip(found, (plain.apply(image), plain.adjoint(values)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e3 * torch.finfo(dtype).eps)
    assert plain._bags._matrix is None


def test_weights_made_a_few_at_a_time_are_those_made_at_once(monkeypatch):
    whole = Warp(wild_map(GRID), PICTURE)._bags
    monkeypatch.setattr(kernels, "AT_ONCE", 7)
    parts = Warp(wild_map(GRID), PICTURE)._bags
    assert torch.equal(whole.weight, parts.weight)
    assert torch.equal(whole.index, parts.index)


def test_a_single_plane_has_the_stride_that_embedding_bag_is_fast_with(monkeypatch):
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    strides = []
    plain = torch.nn.functional.embedding_bag

    def noted(index, picture, *rest, **keywords):
        strides.append(picture.stride(1))
        return plain(index, picture, *rest, **keywords)

    monkeypatch.setattr(torch.nn.functional, "embedding_bag", noted)
    Warp(wild_map(GRID), PICTURE).apply(random(1, *PICTURE))
    assert strides == [1]
