"""Random masks and depth: what the shapes are, how often, and the distance against every pair of pixels."""

import numpy as np
import pytest
import torch

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.masks import (
    FAR,
    SHAPES,
    binary,
    box_mask,
    boxes,
    depth,
    dilate,
    half_frame,
    random_mask,
    random_masks,
    soften,
    surround,
)

SIZE = (20, 28)
SIZES = [SIZE, (28, 20), (1, 2), (2, 1), (1, 9), (3, 3)]


def rng(seed=0):
    return np.random.default_rng(seed)


def test_a_quarter_of_the_masks_are_whole_and_the_others_never():
    count = 3000
    masks = random_masks(count, SIZE, rng())
    assert masks.shape == (count, 1, *SIZE)
    assert masks.dtype == torch.float32
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    area = masks.mean((1, 2, 3))
    assert area.min() > 0
    share = (area == 1).double().mean().item()
    assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / count)  # four standard errors


@pytest.mark.parametrize(("whole", "expected"), [(0.0, 0.0), (1.0, 1.0)])
def test_the_share_of_whole_frames_can_be_chosen(whole, expected):
    masks = random_masks(50, SIZE, rng(), whole)
    assert (masks.mean((1, 2, 3)) == 1).float().mean() == expected


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_of_zeros_and_ones_at_any_size(name, size):
    drawn = [SHAPES[name].draw(size, rng(seed)) for seed in range(30)]
    assert all(mask.shape == size and set(np.unique(mask)) <= {0, 1} for mask in drawn)
    if min(size) > 3:
        assert sum(0 < mask.mean() < 1 for mask in drawn) >= 25
        assert len({mask.tobytes() for mask in drawn}) > 10


@pytest.mark.parametrize("size", SIZES)
def test_a_hole_is_never_empty(size):
    masks = random_masks(100, size, rng(), whole=0)
    assert masks.sum((1, 2, 3)).min() >= 1
    assert (1 - masks).sum((1, 2, 3)).min() >= 1


def test_masks_follow_from_the_generator():
    first, again, other = (random_masks(20, SIZE, rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_shapes_come_as_often_as_they_say(monkeypatch):
    """Each shape is given an area of its own, by which it is told."""
    count, names = 2000, list(SHAPES)
    for number, name in enumerate(names):
        mask = np.arange(np.prod(SIZE)).reshape(SIZE) <= number
        monkeypatch.setitem(SHAPES, name, SHAPES[name]._replace(draw=lambda size, generator, mask=mask: mask))
    areas = random_masks(count, SIZE, rng(), whole=0).sum((1, 2, 3))
    for number, name in enumerate(names):
        share, expected = (areas == number + 1).double().mean().item(), SHAPES[name].share
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / count), name
    assert sum(shape.share for shape in SHAPES.values()) == pytest.approx(1)


def test_half_frames_lie_on_each_side_and_a_surround_leaves_a_box():
    kinds = set()
    for seed in range(60):
        mask = half_frame(SIZE, rng(seed))
        assert 0.2 < mask.mean() < 0.8
        rows, columns = mask.all(1), mask.all(0)
        assert rows.any() != columns.any()
        assert (mask == (rows[:, None] | columns[None])).all()
        kinds.add((bool(rows.any()), bool(mask[0, 0])))
        left = 1 - surround(SIZE, rng(seed))
        assert (left == np.outer(left.any(1), left.any(0))).all()  # one box
    assert len(kinds) == 4


def test_a_single_box_is_filled():
    masks = [boxes(SIZE, rng(seed)) for seed in range(60)]
    full = [(mask == np.outer(mask.any(1), mask.any(0))).all() for mask in masks]
    assert 0.4 < np.mean(full) < 0.95  # six in ten are one box, and some of the others overlap


def test_depth_is_the_distance_to_the_nearest_known_pixel():
    masks = random_masks(5, (13, 17), rng(3), whole=0)
    y, x = torch.meshgrid(torch.arange(13.0), torch.arange(17.0), indexing="ij")
    points = torch.stack([x, y], -1).reshape(-1, 2)
    for mask, deep in zip(masks, depth(masks), strict=True):
        expected = torch.cdist(points, points[mask.flatten() == 0]).amin(1).reshape(1, 13, 17)
        torch.testing.assert_close(deep, expected, rtol=0, atol=1e-5)


def test_depth_takes_any_leading_dimensions_and_knows_both_ends():
    masks = torch.stack([torch.zeros(2, 1, 5, 6), torch.ones(2, 1, 5, 6)])
    deep = depth(masks)
    assert deep.shape == masks.shape
    assert deep[0].abs().max() == 0
    assert (deep[1] == FAR).all()


def test_mistakes_are_one_sentence():
    with pytest.raises(UserError, match=r"the share of whole-frame masks is from 0 to 1, got 1\.5"):
        random_mask(SIZE, rng(), whole=1.5)
    with pytest.raises(UserError, match="a mask of 1x1 has no room for a hole"):
        random_mask((1, 1), rng())


def test_a_mask_is_cut_at_one_half():
    mask = torch.tensor([[0.0, 0.5, 0.51, 1.0]])
    expected = torch.tensor([[[0.0, 0.0, 1.0, 1.0]]])
    assert torch.equal(binary(mask, (1, 4)), expected)
    assert torch.equal(binary(mask[None].double(), (1, 4)), expected)
    assert torch.equal(binary(mask > 0.5, (1, 4)), expected)
    assert torch.equal(binary((mask > 0.5).int(), (1, 4)), expected)


@pytest.mark.parametrize("value", [-0.1, 1.5, 255.0, torch.nan, torch.inf])
def test_values_that_are_not_from_0_to_1_are_refused(value):
    with pytest.raises(UserError, match=r"the mask of frame 3 holds values from .* give 0 to 1, 1 is a hole"):
        binary(torch.tensor([[0.0, value]]), (1, 2), "the mask of frame 3")


@pytest.mark.parametrize("shape", [(4, 3), (1, 4, 3), (3, 3, 4), (1, 1, 3, 4), (12,)])
def test_masks_of_another_shape_are_refused(shape):
    with pytest.raises(ShapeError, match=r"the frames are 4x3: give \(1, 3, 4\)"):
        binary(torch.zeros(shape), (3, 4))


def test_a_box_is_cut_at_the_frame():
    assert torch.equal(box_mask((1, 0, 2, 1), (2, 4))[0], torch.tensor([[0.0, 1, 1, 0], [0, 0, 0, 0]]))
    assert torch.equal(box_mask((-5, 1, 7, 90), (2, 4))[0], torch.tensor([[0.0, 0, 0, 0], [1, 1, 0, 0]]))


@pytest.mark.parametrize("box", [(4, 0, 2, 2), (0, -2, 2, 2), (-9, 0, 9, 2)])
def test_a_box_beyond_the_frame_is_refused(box):
    with pytest.raises(UserError, match="outside of the frame of 4x2"):
        box_mask(box, (2, 4))


@pytest.mark.parametrize("box", [(0, 0, 0, 2), (0, 0, 2, -1)])
def test_a_box_without_a_pixel_is_refused(box):
    with pytest.raises(UserError, match="sides of at least 1 pixel"):
        box_mask(box, (2, 4))


def test_a_point_grows_to_a_disc():
    mask = torch.zeros(2, 1, 11, 11)
    mask[0, 0, 5, 5] = 1
    grown = dilate(mask, 3)
    y, x = torch.meshgrid(torch.arange(11) - 5, torch.arange(11) - 5, indexing="ij")
    assert torch.equal(grown[0, 0], ((x**2 + y**2) <= 9).float())
    assert not grown[1].any()
    assert torch.equal(dilate(mask, 0), mask)


def test_a_softened_hole_falls_by_the_smooth_step():
    mask = torch.zeros(1, 1, 9)
    mask[..., 0] = 1
    a = torch.tensor([1.0, 0.75, 0.5, 0.25, 0, 0, 0, 0, 0])
    torch.testing.assert_close(soften(mask, 3)[0, 0], a * a * (3 - 2 * a))
    assert torch.equal(soften(mask, 0), mask)
