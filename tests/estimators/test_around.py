"""The flow of what surrounds a hole: filled in, whatever the hole covers does."""

import numpy as np
import pytest
import torch

from tests.estimators.scenes import HEIGHT, WIDTH, background, grey_frame, similarity
from warped_diffusion.estimators import estimate_around, estimate_pair
from warped_diffusion.flow import Motion
from warped_diffusion.tasks import smooth_fill

SIZE = (HEIGHT, WIDTH)
CENTRE = ((WIDTH - 1) / 2, (HEIGHT - 1) / 2)


def box(left, top, width, height):
    mask = torch.zeros(1, *SIZE)
    mask[:, top : top + height, left : left + width] = 1
    return mask


def filled(frame, mask):
    return smooth_fill(frame[None], mask[None])[0]


@pytest.mark.parametrize("motion", [{"shift": (2.3, -1.1)}, {"rotation": 2.0}, {"zoom": 1.02}])
def test_the_hole_moves_with_its_background(motion):
    """A box that goes its own way, 5 px a frame, over a ground that moves by a known similarity."""
    frames = [grey_frame(background(similarity(j, centre=CENTRE, **motion))) for j in (0, 1)]
    holes = box(40, 40, 30, 40), box(45, 40, 30, 40)
    pictures = [filled(frame, hole) for frame, hole in zip(frames, holes, strict=True)]
    forward, backward, visible, known, left, came = estimate_around(*pictures, holes, SIZE)
    true = Motion.analytic(2, SIZE, **motion)
    for found, expected, hole in ((forward, true.forward[0], holes[0]), (backward, true.backward[0], holes[1])):
        error = (found - expected).norm(dim=-1)
        assert error[hole[0] > 0].max() < 0.5
    assert left[holes[0][0] > 0].all()
    assert came[holes[1][0] > 0].all()
    assert visible[45:75, 45:65].min() > 0.99  # a hole is no occlusion
    assert known[45:75, 50:70].min() > 0.99


def test_without_holes_it_is_the_plain_estimate():
    frames = [grey_frame(background(similarity(j, (1.5, 0.5)))) for j in (0, 1)]
    *around, left, came = estimate_around(*frames, (box(0, 0, 0, 0), box(0, 0, 0, 0)), SIZE)
    for found, expected in zip(around, estimate_pair(*frames, SIZE), strict=True):
        assert torch.equal(found, expected)
    assert not left.any()
    assert not came.any()


def test_where_nothing_is_known_nothing_moves():
    whole = torch.ones(1, *SIZE)
    forward, backward, *_ = estimate_around(torch.zeros(3, *SIZE), torch.rand(3, *SIZE), (whole, whole), SIZE)
    assert torch.equal(forward, backward)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    assert torch.equal(forward, torch.from_numpy(np.stack([x, y], -1)).float())


def test_the_plain_estimate_would_have_followed_the_object():
    """The sensitivity of the first test: what is in the box has a motion of its own, which DIS sees."""
    frames = []
    for j in (0, 1):
        frame = background(similarity(j, (2.3, -1.1)))
        frame[40:80, 40 + 5 * j : 70 + 5 * j] = background(similarity(0), seed=7)[:40, :30]
        frames.append(grey_frame(frame))
    forward, *_ = estimate_pair(*frames, SIZE)
    true = Motion.analytic(2, SIZE, shift=(2.3, -1.1)).forward[0]
    assert (forward - true).norm(dim=-1)[45:75, 45:65].median() > 2
