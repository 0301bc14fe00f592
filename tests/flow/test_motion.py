"""The motion of a clip: the analytic one against complex numbers, shapes, defaults, sizes."""

import pytest
import torch

from tests.flow.similarity import Similarity
from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.flow import Motion, identity_map, resize_map

SIZE = (24, 36)
STEP = {"shift": (1.3, -0.7), "rotation": 2.5, "zoom": 1.04}
# Positions of some tens of pixels in float32.
SINGLE = 1e-5


def still(pairs=2):
    maps = identity_map(*SIZE).expand(pairs, -1, -1, -1)
    return {"forward": maps, "backward": maps, "visible": torch.ones(pairs, *SIZE)}


def test_analytic_motion_is_the_similarity_and_its_inverse():
    oracle = Similarity(SIZE, STEP["shift"], STEP["rotation"], STEP["zoom"])
    motion = Motion.analytic(4, SIZE, **STEP)
    assert motion.frames == 4
    assert motion.size == SIZE
    for forward, backward in zip(motion.forward, motion.backward, strict=True):
        torch.testing.assert_close(forward, oracle.iterate(1).float(), atol=SINGLE, rtol=0)
        torch.testing.assert_close(backward, oracle.iterate(-1).float(), atol=SINGLE, rtol=0)


def test_analytic_masks_are_what_stays_in_the_frame():
    motion = Motion.analytic(2, SIZE, shift=(3.0, 0.0))
    assert motion.visible[0, :, :-3].min() == 1
    assert motion.visible[0, :, -3:].max() == 0
    assert motion.known[0, :, 3:].min() == 1
    assert motion.known[0, :, :3].max() == 0


def test_positive_rotation_turns_x_towards_y_and_zoom_enlarges():
    centre = (11, 11)
    turned = Motion.analytic(2, (23, 23), rotation=90.0).forward[0]
    torch.testing.assert_close(turned[11, 16], torch.tensor([11.0, 16.0]), atol=SINGLE, rtol=0)
    grown = Motion.analytic(2, (23, 23), zoom=2.0).forward[0]
    assert grown[centre].tolist() == [11.0, 11.0]
    assert grown[11, 13].tolist() == [15.0, 11.0]


def test_known_follows_from_visible_through_the_maps():
    motion = Motion.analytic(2, SIZE, shift=(3.0, 0.0))
    hole = motion.visible.clone()
    hole[:, 5:9, 10:15] = 0
    derived = Motion(motion.forward, motion.backward, hole)
    expected = motion.known.clone()
    expected[:, 5:9, 13:18] = 0
    torch.testing.assert_close(derived.known, expected, atol=1e-4, rtol=0)


def test_a_single_frame_has_no_motion():
    motion = Motion.analytic(1, SIZE)
    assert motion.frames == 1
    assert motion.resize((6, 9)).forward.shape == (0, 6, 9, 2)


def test_resize_takes_maps_and_masks_along():
    motion = Motion.analytic(3, SIZE, **STEP).resize((6, 9))
    coarse = Similarity((6, 9), (1.3 / 4, -0.7 / 4), 2.5, 1.04)
    assert motion.size == (6, 9)
    torch.testing.assert_close(motion.forward[1], coarse.iterate(1).float(), atol=SINGLE, rtol=0)
    torch.testing.assert_close(motion.backward, resize_map(Motion.analytic(3, SIZE, **STEP).backward, (6, 9)))
    assert motion.visible.shape == motion.known.shape == (2, 6, 9)
    cut = Motion(**still(), cuts=(1,))
    assert cut.resize((6, 9)).cuts == (1,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"forward": torch.zeros(2, 24, 36)}, "forward"),
        ({"forward": identity_map(*SIZE)}, "a map per pair|one map per pair"),
        ({"backward": torch.zeros(2, 24, 35, 2)}, r"backward is \(2, 24, 35, 2\), expected \(2, 24, 36, 2\)"),
        ({"visible": torch.ones(1, 24, 36)}, "visible is"),
        ({"known": torch.ones(24, 36)}, "known is"),
        ({"cuts": (3,)}, "frames"),
        ({"cuts": (0,)}, "frames"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    with pytest.raises(ShapeError, match=message):
        Motion(**{**still(), **change})


def test_cuts_are_sorted_and_once():
    assert Motion(**still(), cuts=(2, 1, 2)).cuts == (1, 2)


def test_no_frames_or_no_zoom_is_refused():
    with pytest.raises(UserError, match="at least 1 frame"):
        Motion.analytic(0, SIZE)
    with pytest.raises(UserError, match="zoom"):
        Motion.analytic(2, SIZE, zoom=0.0)
