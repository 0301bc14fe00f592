"""Key frames: when they are renewed, and that their links are the composed motion."""

import pytest
import torch

from tests.flow.similarity import Similarity
from warped_diffusion.flow import KeyFrames, Motion, frame_weight, identity_map, visibility

SIZE = (64, 96)


def follow(motion, cuts=()):
    """(link, key of the next frame) for every frame after the first."""
    keys, out = KeyFrames(), []
    for j in range(1, motion.frames):
        step = (motion.forward[j - 1], motion.backward[j - 1], motion.visible[j - 1], motion.known[j - 1])
        link = keys.begin_shot() if j in cuts else keys.advance(*step)
        out.append((link, keys.key_index))
    return out


# Shift: coverage 1 - 10 j / 96 falls under .6 at j = 4. Zoom in: 1.1^j exceeds 1.4 at j = 4. Zoom out: coverage .81^j
# falls under .6 at j = 3, before the scale .9^j leaves .7.
@pytest.mark.parametrize(("step", "renewal"), [({"shift": (10.0, 0.0)}, 4), ({"zoom": 1.1}, 4), ({"zoom": 0.9}, 3)])
def test_the_key_is_renewed_where_it_should_be(step, renewal):
    links = follow(Motion.analytic(2 * renewal + 2, SIZE, **step))
    expected = [0] * (renewal - 1) + [renewal] * renewal + [2 * renewal]
    assert [key for _, key in links][: len(expected)] == expected
    # The frame that renews the key is itself still held to the old one, and those after it to the new one.
    assert links[renewal - 1][0].key_index == 0
    assert links[renewal][0].key_index == renewal


def test_the_link_is_the_composed_motion_where_it_is_seen():
    oracle = Similarity(SIZE, shift=(1.7, -0.6), degrees=1.5, zoom=1.01)
    motion = Motion.analytic(8, SIZE, shift=(1.7, -0.6), rotation=1.5, zoom=1.01)
    for j, (link, _) in enumerate(follow(motion), start=1):
        seen = link.visible > 0.99  # on the way through the half pixel around the frame the edge's displacement holds
        assert seen.float().mean() > 0.6
        # float32 compositions of positions up to 96 px; measured 2.3e-5.
        torch.testing.assert_close(link.forward[seen], oracle.iterate(j).float()[seen], atol=1e-4, rtol=0)
        # Masks are resampled at every step: they may lose a soft rim of the frame (measured .008), but never gain.
        for mask, ideal in ((link.visible, oracle.iterate(j)), (link.known, oracle.iterate(-j))):
            weight = frame_weight(ideal, SIZE).float()
            assert not mask[weight == 0].any()
            assert (mask - weight).abs().mean() < 0.015


def test_steps_that_do_not_commute_are_composed_in_order_both_ways():
    turn, push = Motion.analytic(2, SIZE, rotation=15.0), Motion.analytic(2, SIZE, shift=(9.0, 4.0))
    pairs = zip(
        (turn.forward, turn.backward, turn.visible, turn.known),
        (push.forward, push.backward, push.visible, push.known),
        strict=True,
    )
    link = follow(Motion(*(torch.cat(pair) for pair in pairs)))[1][0]
    expected = Similarity(SIZE, shift=(9.0, 4.0)).iterate(1, Similarity(SIZE, degrees=15.0).iterate(1))
    seen = link.visible > 0.99
    torch.testing.assert_close(link.forward[seen], expected.float()[seen], atol=1e-4, rtol=0)
    # The other order is 2 px off: the maps would not lead home, and the middle would not be seen.
    assert link.visible[24:40, 36:60].min() > 0.99
    assert link.known[24:40, 36:60].min() > 0.99


def test_at_rest_the_first_frame_stays_the_key_and_everything_is_seen():
    for j, (link, key) in enumerate(follow(Motion.analytic(30, (12, 16))), start=1):
        assert key == link.key_index == 0
        assert link.is_previous == (j == 1)
        torch.testing.assert_close(link.visible, torch.ones(12, 16), atol=1e-4, rtol=0)
        torch.testing.assert_close(link.known, torch.ones(12, 16), atol=1e-4, rtol=0)


def test_the_key_that_is_the_previous_frame_says_so_and_hands_the_maps_through():
    motion = Motion.analytic(3, SIZE, shift=(1.2, 0.0))
    (first, _), (second, _) = follow(motion)
    assert first.is_previous
    assert torch.equal(first.forward, motion.forward[0])
    assert torch.equal(first.known, motion.known[0])
    assert not second.is_previous


def test_a_shot_begins_with_no_link_and_a_new_key_whatever_the_maps_say():
    motion = Motion.analytic(6, SIZE, shift=(1.0, 0.0))
    broken = Motion(motion.forward.clone(), motion.backward.clone(), motion.visible, motion.known)
    broken.forward[2] = float("nan")
    links = follow(broken, cuts=(3,))
    assert links[2] == (None, 3)
    assert links[3][0].key_index == 3
    assert links[3][0].is_previous


def test_a_pixel_once_hidden_stays_hidden():
    motion = Motion.analytic(5, SIZE, shift=(1.0, 0.0))
    visible = motion.visible.clone()
    visible[1, 20:30, 41:51] = 0  # hidden on the way from frame 1 to 2; in frame 0 it was a pixel to the left
    links = follow(Motion(motion.forward, motion.backward, visible))
    assert links[0][0].visible[20:30, 40:50].min() == 1
    for j in (2, 3, 4):
        assert links[j - 1][0].visible[20:30, 40:50].max() < 1e-3
        assert links[j - 1][0].known[20:30, 40 + j : 50 + j].max() < 1e-3


def test_maps_that_drift_apart_lose_their_sight():
    """Each step passes the consistency test by itself, half a pixel off; after three the composed maps do not."""
    forward, backward = identity_map(*SIZE), identity_map(*SIZE)
    forward[..., 0] += 0.3
    step = (forward, backward, *visibility(forward, backward))
    keys = KeyFrames()
    links = [keys.advance(*step) for _ in range(3)]
    assert links[0].visible[32, 48] > 0.99
    assert links[1].visible[32, 48] > 0.99
    assert links[2].visible.max() == 0
    assert keys.key_index == 3
