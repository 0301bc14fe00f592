"""Visibility of a synthetic occluder, of the frame's border, and the feather."""

import math

import pytest
import torch
import torch.nn.functional as F

from warped_diffusion.errors import ShapeError
from warped_diffusion.flow import Motion, agreement, feather, identity_map, visibility

SIZE = (40, 60)
STEP = 6


def occluder():
    """A square at rows 10-29, columns 20-39 moves right by STEP over a background at rest."""
    forward, backward = identity_map(*SIZE), identity_map(*SIZE)
    forward[10:30, 20:40, 0] += STEP
    backward[10:30, 20 + STEP : 40 + STEP, 0] -= STEP
    return visibility(forward, backward)


def test_what_the_occluder_covers_is_not_visible_and_what_it_uncovers_was_not_known():
    visible, known = occluder()
    assert visible[10:30, 40 : 40 + STEP].max() == 0
    assert known[10:30, 20 : 20 + STEP].max() == 0


def test_everything_two_pixels_away_is_untouched():
    visible, known = occluder()
    covered = torch.zeros(SIZE, dtype=torch.bool)
    covered[8:32, 38 : 42 + STEP] = True
    uncovered = torch.zeros(SIZE, dtype=torch.bool)
    uncovered[8:32, 18 : 22 + STEP] = True
    torch.testing.assert_close(visible[~covered], torch.ones_like(visible[~covered]), atol=1e-6, rtol=0)
    torch.testing.assert_close(known[~uncovered], torch.ones_like(known[~uncovered]), atol=1e-6, rtol=0)


def test_pixels_that_leave_the_frame_are_not_visible():
    motion = Motion.analytic(2, SIZE, shift=(5.3, 0.0))
    visible, known = visibility(motion.forward[0], motion.backward[0])
    assert visible[:, -5:].max() == 0
    assert visible[:, :-6].min() == pytest.approx(1)
    assert known[:, :5].max() == 0
    assert known[:, 6:].min() == pytest.approx(1)


def test_at_rest_everything_is_visible_the_border_too():
    visible, known = visibility(identity_map(*SIZE), identity_map(*SIZE))
    torch.testing.assert_close(visible, torch.ones(SIZE), atol=1e-6, rtol=0)
    torch.testing.assert_close(known, torch.ones(SIZE), atol=1e-6, rtol=0)


# |F + B|^2 against 0.01 (|F|^2 + |B|^2) + 0.5: for F of 10 px the bound on |F + B| is 1.5 px, at rest it is 0.7 px.
@pytest.mark.parametrize(
    ("shift", "error", "passes"), [(0, 0.65, True), (0, 0.78, False), (10, 1.5, True), (10, 1.7, False)]
)
def test_the_rule_itself(shift, error, passes):
    forward, backward = identity_map(*SIZE), identity_map(*SIZE)
    forward[..., 0] += shift
    backward[..., 0] -= shift + error
    visible, _ = visibility(forward, backward)
    assert visible[20, 30] == pytest.approx(float(passes))


def test_a_batch_is_its_items():
    motion = Motion.analytic(3, SIZE, shift=(2.2, 1.0), rotation=1.0)
    visible, known = visibility(motion.forward, motion.backward)
    one_visible, one_known = visibility(motion.forward[1], motion.backward[1])
    torch.testing.assert_close(visible[1], one_visible, atol=1e-6, rtol=0)
    torch.testing.assert_close(known[1], one_known, atol=1e-6, rtol=0)


def test_the_feather_never_grows_a_mask():
    mask = torch.zeros(9, 9)
    mask[2:7, 2:7] = 1
    soft = feather(mask)
    assert soft[mask == 0].max() == 0
    assert soft[4, 4] == 1
    assert 0 < soft[3, 2] < soft[3, 3] < 1
    assert feather(torch.ones(3, 4)).min() == 1


def test_two_grids_are_refused():
    with pytest.raises(ShapeError, match="must be alike"):
        visibility(identity_map(3, 4), identity_map(4, 4))


def test_agreement_is_full_along_the_true_motion_and_none_along_a_wrong_one():
    torch.manual_seed(0)
    wide = F.interpolate(torch.rand(1, 3, 12, 14), size=(48, 56), mode="bicubic")[0].clamp(0, 1)
    earlier, later = wide[:, :, 3:51], wide[:, :, :48]  # the picture moves three pixels to the right
    truth = identity_map(48, 48) + torch.tensor([3.0, 0.0])
    inside = agreement(earlier, later, truth)[:, :44]
    assert inside.min() > 0.999
    assert agreement(earlier, later, identity_map(48, 48)).mean() < 0.3


def test_agreement_follows_its_formula_for_a_constant_difference():
    earlier = torch.full((3, 8, 8), 0.5)
    value = agreement(earlier, earlier + 0.06, identity_map(8, 8), tolerance=0.03)
    assert torch.allclose(value, torch.full((8, 8), math.exp(-2.0)), atol=1e-5)
