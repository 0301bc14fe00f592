"""Temporal measures on motion that is known in closed form."""

import cmath
import math

import pytest
import torch

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.flow.maps import identity_map
from warped_diffusion.flow.motion import Motion
from warped_diffusion.metrics import newly_exposed, warping_error

SIZE = (24, 32)
# A motion that changes from frame to frame, so that steps taken in the wrong order lead elsewhere.
STEPS = [
    {"shift": (0.37, -0.21)},
    {"rotation": 6.0},
    {"shift": (-1.6, 1.2), "zoom": 1.03},
    {"rotation": -4.0, "zoom": 0.98},
    {"shift": (1.3, 0.4)},
]
# Measured 3e-9: what the spline leaves of waves up to 0.2 rad/px, at the edges of the frame most.
RULER = 1e-8


def waves(positions):
    """A smooth picture in [0, 1] as a function of continuous positions (..., 2): no pixel grid, no interpolation."""
    x, y = positions.double().unbind(-1)
    return torch.stack([0.5 + 0.25 * torch.cos(0.2 * x + p) + 0.25 * torch.sin(0.15 * y - 0.1 * x - p) for p in (0, 1)])


def traced_back(positions, steps):
    """Where the picture came from after these steps: each z -> a z + b about the frame's centre, in complex numbers."""
    centre = complex((SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2)
    z = torch.complex(*positions.double().unbind(-1)) - centre
    for step in reversed(steps):
        a = step.get("zoom", 1.0) * cmath.exp(1j * math.radians(step.get("rotation", 0.0)))
        z = (z - complex(*step.get("shift", (0.0, 0.0)))) / a
    return torch.view_as_real(z + centre)


def changing_motion():
    pairs = [Motion.analytic(2, SIZE, **step) for step in STEPS]
    fields = ("forward", "backward", "visible", "known")
    return Motion(*(torch.cat([getattr(pair, field) for pair in pairs]) for field in fields))


def still(frames, size=SIZE):
    return Motion.analytic(frames, size, shift=(0.0, 0.0))


def test_a_flow_one_pixel_off_on_a_ramp():
    slope = 0.01
    ramp = (slope * torch.arange(SIZE[1], dtype=torch.float32)).expand(5, 3, *SIZE)
    wrong = Motion.analytic(5, SIZE, shift=(1.0, 0.0))  # the clip does not move
    first = warping_error(ramp, wrong, per_frame=True)
    torch.testing.assert_close(first, (slope * torch.arange(1, 5).double()).square(), rtol=1e-4, atol=0)
    previous = warping_error(ramp, wrong, reference="previous", per_frame=True)
    torch.testing.assert_close(previous, torch.full((4,), slope**2).double(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("reference", ["first", "previous"])
def test_a_picture_moved_as_told_has_no_error(reference):
    motion = changing_motion()
    moved = torch.stack([waves(traced_back(identity_map(*SIZE), STEPS[:j])) for j in range(6)]).float()
    assert warping_error(moved, motion, reference=reference) < RULER
    # What leaves the frame is not compared, even where the masks claim to see it.
    everything = torch.ones_like(motion.visible)
    seen = Motion(motion.forward, motion.backward, everything, everything)
    assert warping_error(moved, seen, reference=reference) < RULER
    # Sensitivity: the same clip against the motion played backwards, and against none.
    swapped = Motion(motion.backward, motion.forward, motion.known, motion.visible)
    assert warping_error(moved, swapped, reference=reference) > 1e4 * RULER
    assert warping_error(moved, still(6), reference=reference) > 1e4 * RULER


def test_flicker_is_measured_against_the_named_reference():
    level = torch.tensor([0.5, 0.6, 0.3, 0.5])
    flicker = level[:, None, None, None].expand(4, 3, *SIZE)
    first = warping_error(flicker, still(4), reference="first", per_frame=True)
    torch.testing.assert_close(first, torch.tensor([0.01, 0.04, 0.0]).double(), rtol=1e-5, atol=1e-12)
    previous = warping_error(flicker, still(4), reference="previous", per_frame=True)
    torch.testing.assert_close(previous, torch.tensor([0.01, 0.09, 0.04]).double(), rtol=1e-5, atol=1e-12)
    torch.testing.assert_close(warping_error(flicker, still(4)), first.mean())


def test_only_pixels_seen_all_along_count():
    frames = torch.zeros(3, 3, *SIZE)
    frames[1:, :, 8:12, 8:12] = 1.0  # something opaque appears and stays
    motion = still(3)
    assert warping_error(frames, motion, per_frame=True).min() > 0.01
    visible = motion.visible.clone()
    visible[0, 8:12, 8:12] = 0.0  # hidden once: out of sight for every later frame
    hidden = Motion(motion.forward, motion.backward, visible, motion.known)
    # The spline rings around the sharp patch in no frame: at integer positions it gives the pixels themselves.
    assert warping_error(frames, hidden).item() < 1e-12


def test_visibility_travels_with_the_picture():
    motion = Motion.analytic(3, SIZE, shift=(2.0, 0.0))
    frames = torch.zeros(3, 1, *SIZE)
    frames[2, :, 10, 14] = 1.0  # what was at x = 10 in frame 0 and at 12 in frame 1
    visible = motion.visible.clone()
    visible[1, 10, 12] = 0.0
    error = warping_error(frames, Motion(motion.forward, motion.backward, visible, motion.known), per_frame=True)
    torch.testing.assert_close(error, torch.zeros(2).double(), rtol=0, atol=1e-12)


def test_shots_are_measured_apart():
    motion = still(5)
    cut = Motion(motion.forward, motion.backward, motion.visible, motion.known, cuts=(2,))
    frames = torch.tensor([0.1, 0.2, 0.7, 0.7, 0.9])[:, None, None, None].expand(5, 3, *SIZE)
    expected = torch.tensor([0.01, math.nan, 0.0, 0.04]).double()
    for_first = warping_error(frames, cut, per_frame=True)
    torch.testing.assert_close(for_first, expected, rtol=1e-5, atol=1e-12, equal_nan=True)
    torch.testing.assert_close(warping_error(frames, cut), expected.nanmean(), rtol=1e-5, atol=0)


def test_a_clip_of_one_frame_has_nothing_to_compare():
    assert warping_error(torch.zeros(1, 3, *SIZE), still(1)).isnan()
    assert not newly_exposed(still(1), 0).any()


def test_newly_exposed_of_a_pan():
    motion = Motion.analytic(5, SIZE, shift=(2.0, -1.0))  # the picture moves right and up: new at the left and below
    for j in range(5):
        expected = torch.zeros(SIZE, dtype=torch.bool)
        expected[:, : 2 * j] = True
        expected[SIZE[0] - j :] = True
        assert torch.equal(newly_exposed(motion, j), expected), f"frame {j}"


def test_newly_exposed_is_what_leads_out_of_an_earlier_frame():
    last = torch.tensor([SIZE[1] - 1, SIZE[0] - 1])
    path = [traced_back(identity_map(*SIZE), STEPS[k:]) for k in range(len(STEPS))]
    # How far the path leads beyond the outermost pixel centres; the frame's border is half a pixel further out.
    beyond = torch.stack([torch.maximum(-P, P - last).amax(-1) for P in path]).amax(0)
    exposed = newly_exposed(changing_motion(), len(STEPS))
    assert 0.1 < (beyond > 0.5).float().mean() < 0.3
    assert exposed[beyond > 0.5].all()
    assert not exposed[beyond < 0].any()


def test_newly_exposed_starts_again_at_a_cut():
    motion = Motion.analytic(5, SIZE, shift=(2.0, 0.0))
    cut = Motion(motion.forward, motion.backward, motion.visible, motion.known, cuts=(3,))
    assert not newly_exposed(cut, 3).any()
    assert torch.equal(newly_exposed(cut, 4), newly_exposed(motion, 1))


def test_errors_name_what_came():
    motion = still(4)
    with pytest.raises(UserError, match="reference is 'last'"):
        warping_error(torch.zeros(4, 3, *SIZE), motion, reference="last")
    with pytest.raises(ShapeError, match=r"need \(2, 24, 32, 2\)"):
        warping_error(torch.zeros(3, 3, *SIZE), motion)
    with pytest.raises(ShapeError, match="the frames of a clip"):
        warping_error(torch.zeros(3, *SIZE), motion)
    with pytest.raises(UserError, match="frame is 4, the clip has 4"):
        newly_exposed(motion, 4)
