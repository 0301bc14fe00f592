"""Maps against closed forms and slow loops."""

import pytest
import torch

from tests.flow.similarity import Similarity, wild_map
from warped_diffusion.errors import ShapeError
from warped_diffusion.flow import (
    compose,
    displacement,
    frame_weight,
    identity_map,
    interpolate,
    jacobian,
    jacobian_scale,
    resize_map,
    resize_values,
)

SIZE = (20, 28)
MAP = Similarity(SIZE, shift=(0.7, -0.4), degrees=3.0, zoom=1.05)
# float64 round-off of coordinates of some tens of pixels, a few operations deep.
ROUND_OFF = 1e-12
# float32 positions of some tens of pixels are exact to 2e-6; grid_sample's own coordinates cost a few times that.
SINGLE = 2e-5


def inside(positions, size=SIZE):
    return ((positions >= 0) & (positions <= positions.new_tensor([size[1] - 1, size[0] - 1]))).all(-1)


def test_identity_map_is_x_right_y_down():
    grid = identity_map(3, 5)
    assert grid.shape == (3, 5, 2)
    assert grid[2, 4].tolist() == [4.0, 2.0]


def test_compose_with_the_identity_changes_nothing():
    there = MAP.iterate(1)
    assert torch.equal(compose(identity_map(*SIZE, dtype=torch.float64), there), there)
    torch.testing.assert_close(compose(there, identity_map(*SIZE)), there, atol=ROUND_OFF, rtol=0)


@pytest.mark.parametrize("power", [1, 3])
def test_compose_of_similarities_is_the_closed_form_where_the_inner_map_stays_in_the_frame(power):
    inner = MAP.iterate(power)
    composed = compose(MAP.iterate(1), inner)
    kept = inside(inner)
    assert kept.float().mean() > 0.6
    torch.testing.assert_close(composed[kept], MAP.iterate(power + 1)[kept], atol=ROUND_OFF, rtol=0)


def test_compose_continues_the_displacement_of_the_nearest_edge_pixel():
    outer = MAP.iterate(1)
    inner = identity_map(*SIZE, dtype=torch.float64) + torch.tensor([100.0, 0.0], dtype=torch.float64)
    expected = inner + displacement(outer)[:, -1:]
    torch.testing.assert_close(compose(outer, inner), expected, atol=ROUND_OFF, rtol=0)


def test_compose_is_associative_on_affine_maps_and_ordered():
    one, two = Similarity(SIZE, degrees=4.0), Similarity(SIZE, shift=(1.0, 0.0))
    kept = inside(one.iterate(1)) & inside(two.iterate(1))
    out = compose(one.iterate(1), two.iterate(1))
    torch.testing.assert_close(out[kept], one.iterate(1, two.iterate(1))[kept], atol=ROUND_OFF, rtol=0)
    assert (out - compose(two.iterate(1), one.iterate(1)))[kept].abs().max() > 0.01


def test_a_batch_composes_as_its_items_and_keeps_single_precision():
    outer, inner = (
        torch.stack([wild_map(SIZE, 1.0, seed, torch.float32) for seed in seeds]) for seeds in ((0, 1), (2, 3))
    )
    batch = compose(outer, inner)
    assert batch.dtype == torch.float32
    for one, a, b in zip(batch, outer, inner, strict=True):
        torch.testing.assert_close(one, compose(a, b), atol=0, rtol=0)
    torch.testing.assert_close(batch, compose(outer.double(), inner.double()).float(), atol=SINGLE * 10, rtol=0)
    assert torch.equal(compose(outer[0], inner), torch.stack([compose(outer[0], one) for one in inner]))


def test_compose_names_the_two_grids_that_differ():
    with pytest.raises(ShapeError, match=r"\(4, 5, 2\).*\(4, 6, 2\)"):
        compose(identity_map(4, 5), identity_map(4, 6))


def test_interpolate_against_a_slow_loop():
    generator = torch.Generator().manual_seed(1)
    values = torch.rand(2, 5, 7, generator=generator, dtype=torch.float64)
    positions = torch.rand(4, 3, 2, generator=generator, dtype=torch.float64) * 12 - 3
    out = interpolate(values, positions)
    for row in range(4):
        for column in range(3):
            x = min(max(positions[row, column, 0].item(), 0.0), 6.0)
            y = min(max(positions[row, column, 1].item(), 0.0), 4.0)
            weight_x = torch.relu(1 - (torch.arange(7) - x).abs()).double()
            weight_y = torch.relu(1 - (torch.arange(5) - y).abs()).double()
            expected = torch.einsum("y,x,cyx->c", weight_y, weight_x, values)
            # The loop's weights are exact to the float32 of torch.arange - x.
            torch.testing.assert_close(out[:, row, column], expected, atol=1e-6, rtol=0)


def test_a_grid_of_one_pixel_and_an_empty_batch():
    assert interpolate(torch.tensor([[[3.0]]]), torch.tensor([[[9.0, -9.0]]])).item() == 3.0
    assert compose(torch.zeros(0, 4, 5, 2), torch.zeros(0, 4, 5, 2)).shape == (0, 4, 5, 2)
    assert resize_map(torch.zeros(0, 4, 6, 2), (2, 12)).shape == (0, 2, 12, 2)


# Where cells split pixels, a pixel's displacement counts for its whole area, not the part's centre: within an eighth of
# a pixel of a displacement that grows by .07 a pixel.
@pytest.mark.parametrize(
    ("coarse", "error"), [((5, 7), ROUND_OFF), ((20, 7), ROUND_OFF), ((8, 9), 0.009), ((1, 1), ROUND_OFF)]
)
def test_a_coarser_affine_map_is_its_value_at_the_cells_centre_in_coarse_pixels(coarse, error):
    # The mean of an affine displacement over a cell is its value at the cell's centre: (cell + 1/2) f - 1/2.
    factor = torch.tensor([SIZE[1] / coarse[1], SIZE[0] / coarse[0]], dtype=torch.float64)
    centre = (identity_map(*coarse, dtype=torch.float64) + 0.5) * factor - 0.5
    expected = (MAP.iterate(1, centre) + 0.5) / factor - 0.5
    torch.testing.assert_close(resize_map(MAP.iterate(1), coarse), expected, atol=error, rtol=0)


def test_a_coarser_map_averages_displacements_not_positions():
    f, fine = 4, wild_map((8, 12), 1.0)
    out = resize_map(fine, (2, 3))
    for row in range(2):
        for column in range(3):
            cell = fine[f * row : f * row + f, f * column : f * column + f].reshape(-1, 2).mean(0)
            # The mean of the absolute positions, divided by f, is off by exactly 1/2 - 1/(2 f).
            expected = cell / f - (0.5 - 0.5 / f)
            torch.testing.assert_close(out[row, column], expected, atol=ROUND_OFF, rtol=0)


def test_a_finer_affine_map_is_exact_inside_and_resizing_back_returns_it():
    fine = (40, 56)
    centre = (identity_map(*fine, dtype=torch.float64) + 0.5) / 2 - 0.5
    expected = (MAP.iterate(1, centre) + 0.5) * 2 - 0.5
    out = resize_map(MAP.iterate(1), fine)
    torch.testing.assert_close(out[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-11, rtol=0)
    torch.testing.assert_close(resize_map(out, SIZE)[1:-1, 1:-1], MAP.iterate(1)[1:-1, 1:-1], atol=1e-11, rtol=0)


def test_resized_values_keep_their_mean_and_constants():
    values = torch.rand(3, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    small = resize_values(values, (6, 9))
    torch.testing.assert_close(small.mean((-1, -2)), values.mean((-1, -2)), atol=ROUND_OFF, rtol=0)
    for size in ((6, 9), (41, 30), (7, 80)):
        torch.testing.assert_close(resize_values(torch.ones(SIZE), size), torch.ones(size), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(0, 4), (2.5, 4), (4,)])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ShapeError, match="whole numbers"):
        resize_values(torch.ones(4, 4), size)


def test_jacobian_of_a_similarity():
    expected = torch.tensor([[MAP.a.real, -MAP.a.imag], [MAP.a.imag, MAP.a.real]], dtype=torch.float64)
    torch.testing.assert_close(jacobian(MAP.iterate(1)), expected.expand(*SIZE, 2, 2), atol=1e-11, rtol=0)
    scale = jacobian_scale(MAP.iterate(1).expand(2, -1, -1, -1))
    torch.testing.assert_close(scale, torch.full((2, *SIZE), 1.05, dtype=torch.float64), atol=1e-11, rtol=0)


def test_jacobian_of_a_single_row():
    assert jacobian_scale(identity_map(1, 6) * torch.tensor([2.0, 1.0])).flatten().tolist() == pytest.approx(
        [2**0.5] * 6
    )


def test_frame_weight_ends_half_a_pixel_beyond_the_outermost_centres():
    x = torch.tensor([0.0, -0.1, -0.5, -3.0, 9.0, 9.25, 9.5, float("nan"), float("inf")])
    weight = frame_weight(torch.stack((x, torch.zeros_like(x)), -1)[None], (4, 10))[0]
    assert weight.tolist() == pytest.approx([1.0, 0.8, 0.0, 0.0, 1.0, 0.5, 0.0, 0.0, 0.0])


def test_a_map_of_whole_numbers_or_of_flat_shape_is_refused():
    with pytest.raises(ShapeError, match="floating"):
        displacement(torch.zeros(4, 4, 2, dtype=torch.long))
    with pytest.raises(ShapeError, match=r"\(2, 4, 4\)"):
        displacement(torch.zeros(2, 4, 4))
