"""Holes: what is made up and what shows of it, and masks handed out frame by frame."""

import pytest
import torch

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.holes import Holes, make_hole

SIZE = (30, 40)


def box(left=15, top=12, width=8, height=6):
    mask = torch.zeros(1, *SIZE)
    mask[:, top : top + height, left : left + width] = 1
    return mask


def distance(mask):
    """By every pair of pixels."""
    inside = torch.nonzero(mask[0]).double()
    everywhere = torch.nonzero(torch.ones(SIZE)).double()
    return torch.cdist(everywhere, inside).amin(1).reshape(SIZE)


@pytest.mark.parametrize(("grow", "feather"), [(0, 0), (4, 0), (0, 5), (4, 4), (2, 7)])
def test_alpha_falls_from_the_grown_mask_to_the_rim_of_what_is_made_up(grow, feather):
    hole, away = make_hole(box(), grow, feather), distance(box())
    assert (hole.alpha[0][away <= grow] == 1).all()  # what the mask covers never shines through
    assert (hole.alpha[0][away >= grow + feather + 1.5] == 0).all()
    assert torch.equal(hole.mask, (hole.alpha > 0).float())  # what shows at all is made up, and nothing else is
    row = hole.alpha[0, 15, 22:]
    assert (row.diff() <= 0).all()
    partial = ((hole.alpha > 0) & (hole.alpha < 1)).any()
    assert bool(partial) == (feather > 0)


def test_an_empty_and_a_full_mask_stay_so():
    empty, full = (make_hole(torch.full((1, *SIZE), value), 4, 4) for value in (0.0, 1.0))
    assert not empty.alpha.any()
    assert (full.alpha == 1).all()
    assert (full.mask == 1).all()


def test_masks_are_handed_out_in_order_and_counted():
    masks = [box(left) for left in (2, 9, 20)]
    holes = Holes(iter(masks), SIZE, 0, 0)
    assert all(torch.equal(holes.take(j).mask, mask) for j, mask in enumerate(masks))
    holes.finish(3)
    with pytest.raises(UserError, match="masks for 3 frames, the clip has more: give one for all"):
        holes.take(3)
    more = Holes(iter(masks), SIZE, 0, 0)
    more.take(0)
    with pytest.raises(UserError, match="more masks than the clip's 1 frames"):
        more.finish(1)


def test_one_mask_serves_any_number():
    holes = Holes(box()[0] > 0, SIZE, 1, 1)
    assert holes.take(0) is holes.take(100)
    holes.finish(2)


def test_what_cannot_be_a_mask_is_told():
    with pytest.raises(UserError, match=r"dilate is a whole number of pixels from 0 to 500, got -1"):
        Holes(box(), SIZE, -1, 0)
    with pytest.raises(UserError, match=r"feather is a whole number of pixels"):
        Holes(box(), SIZE, 0, 1.5)
    with pytest.raises(ShapeError, match=r"the mask is 7x5, the frames are 40x30"):
        Holes(torch.zeros(5, 7), SIZE, 0, 0)
    holes = Holes([box(), torch.zeros(1, 5, 7)], SIZE, 0, 0)
    holes.take(0)
    with pytest.raises(ShapeError, match=r"the mask of frame 1 is 7x5"):
        holes.take(1)
