"""Known motions: a step after the other is the whole way, and the whole way is the formula."""

import math

import pytest
import torch

from warped_diffusion.errors import UserError
from warped_diffusion.flow import MOTIONS, Motion, compose, frame_weight, identity_map, known_motion

SIZE = (48, 64)
ROUNDING = 1e-4  # pixels: float32 positions of a frame this large, composed once
CENTRE = torch.tensor([31.5, 23.5], dtype=torch.float64)
OFFSET = identity_map(*SIZE, dtype=torch.float64) - CENTRE


def by_hand(name):
    """P of the last frame, from the words that describe the motion, whatever the number of frames."""
    x, y = OFFSET.unbind(-1)
    if name == "swirl":
        angle = -math.radians(40) * torch.exp(-(x**2 + y**2) / (2 * 12.0**2))
    else:
        angle = torch.tensor(-math.radians(30))
    turned = torch.stack([angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y], -1)
    return (
        CENTRE
        + {
            "rotation": turned,
            "swirl": turned,
            "zoom-in": OFFSET / 1.6,
            "zoom-out": OFFSET * 1.6,
            "shear": torch.stack([x - 0.3 * y, y], -1),
            "stretch": torch.stack([x / 1.4, y * 1.4], -1),
        }[name]
    )


@pytest.mark.parametrize("frames", [2, 7, 24])
@pytest.mark.parametrize("name", ["rotation", "swirl", "zoom-in", "zoom-out", "shear", "stretch"])
def test_the_last_map_is_the_formula_however_many_frames(name, frames):
    motion = known_motion(name, frames, SIZE)
    torch.testing.assert_close(motion.positions(frames - 1).double(), by_hand(name), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(("name", "step"), [("shift", (0.37, 0.21)), ("integer-shift", (2, 1))])
def test_shifts_are_by_the_frame(name, step):
    for frames in (3, 10):
        motion = known_motion(name, frames, SIZE)
        expected = identity_map(*SIZE) - 2 * torch.tensor(step)
        torch.testing.assert_close(motion.positions(2), expected, rtol=0, atol=ROUNDING)
    assert torch.equal(known_motion("integer-shift", 3, SIZE).positions(2) % 1, torch.zeros(*SIZE, 2))


@pytest.mark.parametrize("name", MOTIONS)
def test_steps_add_up_to_the_way_and_undo_each_other(name):
    motion = known_motion(name, 6, SIZE)
    inner = (slice(8, -8), slice(8, -8))  # beyond the frame a composed map goes on by its edge's displacement
    # Maps are bilinear between pixels: exact but for the swirl, whose second derivative is about 0.02 per pixel.
    error = 0.01 if name == "swirl" else ROUNDING
    assert torch.equal(motion.positions(0), identity_map(*SIZE))
    for j in range(1, 6):
        way = compose(motion.positions(j - 1), motion.backward)
        torch.testing.assert_close(way[inner], motion.positions(j)[inner], rtol=0, atol=error)
    there_and_back = compose(motion.motion.forward[0], motion.backward)
    torch.testing.assert_close(there_and_back[inner], identity_map(*SIZE)[inner], rtol=0, atol=error)


@pytest.mark.parametrize(
    ("name", "steps"),
    [("shift", {"shift": (0.37, 0.21)}), ("rotation", {"rotation": 6.0}), ("zoom-in", {"zoom": 1.6**0.2})],
)
def test_it_is_the_analytic_motion_where_there_is_one(name, steps):
    known, analytic = known_motion(name, 6, SIZE).motion, Motion.analytic(6, SIZE, **steps)
    assert known.frames == 6
    for field in ("forward", "backward", "visible", "known"):
        torch.testing.assert_close(getattr(known, field), getattr(analytic, field), rtol=0, atol=ROUNDING)


def test_inside_is_what_the_first_frame_showed():
    motion = known_motion("integer-shift", 5, SIZE)
    expected = torch.ones(SIZE)
    expected[:4], expected[:, :8] = 0, 0  # four frames of (2, 1) pixels to the right and down
    assert torch.equal(motion.inside(4), expected)
    out = known_motion("zoom-out", 5, SIZE)
    torch.testing.assert_close(out.inside(4), frame_weight(out.positions(4), SIZE), rtol=0, atol=1e-3)
    assert 0.35 < out.inside(4).mean() < 0.45  # 1/1.6²


def test_a_single_frame_stays_where_it_is():
    for name in MOTIONS:
        motion = known_motion(name, 1, SIZE)
        assert torch.equal(motion.positions(0), identity_map(*SIZE))
        assert motion.motion.frames == 1


def test_errors():
    with pytest.raises(UserError, match="zoom-in"):
        known_motion("dance", 3, SIZE)
    with pytest.raises(UserError, match="frames is 0"):
        known_motion("shift", 0, SIZE)
    with pytest.raises(UserError, match="size"):
        known_motion("shift", 3, (0, 4))
