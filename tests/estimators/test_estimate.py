"""Estimated motion of pictures whose motion is known."""

import pytest
import torch
import torch.nn.functional as F

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.estimators import estimate_motion, estimate_pair
from warped_diffusion.estimators.refined import refined_flow
from warped_diffusion.flow import Motion, displacement, sample

# DIS at its medium preset on smooth texture, measured: mean end-point error .05 px.
DIS_ERROR = 0.15
# Of a clip reduced four times, moving by part of a pixel of what is left, measured: refined .016 to .03, DIS .05 to .1.
FINE_ERROR, OF_DIS = 0.04, 0.5


def textured(size=(200, 240), seed=0, cell=4):
    """Band-limited texture of cells of so many pixels, enough for patches of 8 pixels to lock on."""
    coarse = torch.rand(1, 3, size[0] // cell, size[1] // cell, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=size, mode="bicubic")[0].clamp(0, 1)


def moved(frames, margin=40, cell=4, **step):
    """A clip of a moving texture, cropped so that no border comes into sight, and its motion on the crop's grid."""
    clip = [textured(cell=cell)]
    motion = Motion.analytic(frames, clip[0].shape[-2:], **step)
    for backward in motion.backward:
        clip.append(sample(clip[-1], backward))
    return torch.stack(clip)[..., margin:-margin, margin:-margin]


@pytest.mark.parametrize("estimator", ["refined", "dis"])
@pytest.mark.parametrize("shift", [(1.3, -0.6), (4.5, 2.25), (-7.0, 0.4)])
def test_a_shift_is_recovered(shift, estimator):
    motion = estimate_motion(moved(2, shift=shift), estimator=estimator)
    for maps, sign in ((motion.forward, 1), (motion.backward, -1)):
        error = (displacement(maps[0]) - sign * torch.tensor(shift)).norm(dim=-1)
        assert error[10:-10, 10:-10].mean() < DIS_ERROR
    assert motion.visible[0, 10:-10, 10:-10].mean() > 0.99
    assert motion.known[0, 10:-10, 10:-10].mean() > 0.99


def test_the_motion_of_a_small_clip_comes_on_the_wanted_grid_in_its_pixels():
    clip = moved(3, shift=(4.0, -2.0))
    small = F.avg_pool2d(clip, 4)
    motion = estimate_motion(small, size=(120, 160))
    assert motion.frames == 3
    assert motion.size == (120, 160)
    error = (displacement(motion.forward) - torch.tensor([4.0, -2.0])).norm(dim=-1)
    assert error[:, 16:-16, 16:-16].mean() < DIS_ERROR


def test_the_default_grid_is_the_frames_own_and_a_pair_is_one_step_of_a_clip():
    clip = moved(2, shift=(1.0, 0.5))
    motion = estimate_motion(clip)
    assert motion.size == tuple(clip.shape[-2:])
    forward, backward, visible, known = estimate_pair(clip[0], clip[1], motion.size)
    assert torch.equal(forward, motion.forward[0])
    assert torch.equal(backward, motion.backward[0])
    assert torch.equal(visible, motion.visible[0])
    assert torch.equal(known, motion.known[0])


def test_a_still_clip_rests():
    frames = textured()[None].expand(2, -1, -1, -1)
    motion = estimate_motion(frames)
    assert displacement(motion.forward).abs().max() < 0.02
    assert motion.visible.min() > 0.95


def errors(frames, size, shift, estimator):
    forward, backward, *_ = estimate_pair(*frames, size, estimator)
    ends = (displacement(positions) - sign * torch.tensor(shift) for positions, sign in ((forward, 1), (backward, -1)))
    return float(torch.stack([end.norm(dim=-1)[16:-16, 16:-16] for end in ends]).mean())


@pytest.mark.parametrize("shift", [(0.9, -0.6), (2.3, 1.1)])
def test_small_motion_of_a_small_picture_is_refined(shift):
    small = (F.avg_pool2d(moved(2, cell=10, shift=shift), 4) * 255).round() / 255
    refined, plain = (errors(small, (120, 160), shift, name) for name in ("refined", "dis"))
    assert refined < FINE_ERROR
    assert refined < OF_DIS * plain


def test_the_two_directions_of_refined_flow_change_places_with_the_frames():
    frames = moved(2, shift=(2.0, 1.0), rotation=1.0)
    forward, backward = refined_flow(*frames)
    assert torch.equal(refined_flow(frames[1], frames[0])[0], backward)
    assert torch.equal(refined_flow(frames[1], frames[0])[1], forward)


@pytest.mark.parametrize("estimator", ["refined", "dis"])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (8, 60), (33, 31)])
def test_tiny_and_odd_frames(size, estimator):
    frames = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    motion = estimate_motion(frames, estimator=estimator)
    assert motion.size == size
    assert torch.isfinite(motion.forward).all()


def test_a_clip_of_one_frame_has_no_motion():
    assert estimate_motion(torch.rand(1, 3, 8, 8), size=(16, 16)).forward.shape == (0, 16, 16, 2)


def test_errors_name_what_came():
    with pytest.raises(UserError, match=r"'farneback'.*dis"):
        estimate_motion(torch.rand(1, 3, 8, 8), estimator="farneback")
    with pytest.raises(ShapeError, match=r"\(3, 8, 8\)"):
        estimate_motion(torch.rand(3, 8, 8))
    with pytest.raises(ShapeError, match=r"\(3, 8, 8\) and \(3, 8, 9\)"):
        estimate_pair(torch.rand(3, 8, 8), torch.rand(3, 8, 9), (8, 8))
