"""Decoded frames brought to agreement: by itself along known and wrong motion, and within a restoration."""

from math import nan

import pytest
import torch

import warped_diffusion as wd
from tests.bench.moving import texture
from tests.test_restore import tiny_model
from warped_diffusion.bench.decoder import BlockTransform, through
from warped_diffusion.decoded import STRONGEST, DecodedGuidance
from warped_diffusion.errors import UserError
from warped_diffusion.evaluate.moved import MARGIN, middle_clip
from warped_diffusion.metrics import psnr, warping_error
from warped_diffusion.models import Model

SIZE, FRAMES = (48, 64), 6
CPU = torch.device("cpu")

FALLS = 12
"""The errors fall by this at least; four rounds leave (1 - 0.54)^4 of a difference, the rest is interpolation's."""
HELD = 0.5
"""dB that wrong flow may cost; followed all the way it costs far more."""
ROUNDING = 2e-5
"""Largest difference in [0, 1] between batches of different size."""


def turn(frames, size):
    return wd.Motion.analytic(frames, size, shift=(1.3, -0.6), rotation=1.0)


def steps(motion):
    return [None, *zip(motion.forward, motion.backward, motion.visible, motion.known, strict=True)]


def moved():
    """A true clip, what the stand-in makes of it, and its motion."""
    picture = texture(*(length + 2 * MARGIN for length in SIZE))
    truth = middle_clip(picture, turn, FRAMES, SIZE)
    return truth, through(BlockTransform(), truth, "cpu"), turn(FRAMES, SIZE)


def agreed(clip, steps, strength=1.0, **how):
    guidance = DecodedGuidance(strength, SIZE, CPU, **how)
    return (torch.stack([guidance.advance(x * 2 - 1, step) for x, step in zip(clip, steps, strict=True)]) + 1) / 2


def test_frames_of_a_decoder_that_follows_no_motion_agree_along_the_true_one():
    truth, decoded, motion = moved()
    made = agreed(decoded, steps(motion), believe=True)
    for reference in ("first", "previous"):
        assert warping_error(made, motion, reference) < warping_error(decoded, motion, reference) / FALLS
    assert psnr(made, truth).mean() >= psnr(decoded, truth).mean()
    torch.testing.assert_close(made[0], decoded[0])


def test_estimated_flow_is_followed_where_the_picture_looks_the_same():
    truth, decoded, motion = moved()
    made = agreed(decoded, steps(motion))
    assert warping_error(made, motion) < warping_error(decoded, motion) / 2
    assert (psnr(made, truth) >= psnr(decoded, truth)).all()
    wrong = steps(wd.Motion.analytic(FRAMES, SIZE, shift=(-3.0, 2.0)))
    lost, lost_believing = (
        float((psnr(decoded, truth) - psnr(agreed(decoded, wrong, believe=believe), truth)).max())
        for believe in (False, True)
    )
    assert lost < HELD
    assert lost_believing > 10 * HELD


def test_strength_0_changes_nothing():
    _, decoded, motion = moved()
    guidance = DecodedGuidance(0.0, SIZE, CPU)
    for frame, step in zip(decoded, steps(motion), strict=True):
        assert guidance.advance(frame, step) is frame
    assert not guidance.pictures


def test_only_the_previous_and_the_key_frame_are_kept():
    """However long the clip: the zoom renews the key frame, and frame 9 begins a shot."""
    motion = wd.Motion.analytic(16, SIZE, zoom=1.07)
    guidance, keys = DecodedGuidance(1.0, SIZE, CPU, rounds=1), set()
    frame = texture(*SIZE) * 2 - 1
    for j, step in enumerate(steps(motion)):
        made = guidance.advance(frame, None if j == 9 else step)
        assert torch.equal(made, frame) == (j in (0, 9))
        assert len(guidance.pictures) <= 2
        assert max(guidance.pictures) == j
        keys.add(min(guidance.pictures))
    assert {0, 9} < keys  # others were renewed by the zoom
    assert all(picture._base is None for picture in guidance.pictures.values())


def test_only_the_hole_is_pulled_and_what_is_known_is_put_back_after_every_round():
    _, decoded, motion = moved()
    hole, held = torch.zeros(SIZE), []
    hole[10:30, 16:40] = 1
    guidance = DecodedGuidance(1.0, SIZE, CPU, rounds=3)
    guidance.advance(decoded[0], None, hole)
    made = guidance.advance(decoded[1], steps(motion)[1], hole, lambda picture: held.append(picture) or picture)
    assert torch.equal(made[:, hole == 0], decoded[1][:, hole == 0])
    assert (made - decoded[1])[:, hole == 1].abs().mean() > 1e-3
    assert len(held) == 3


def blocks():
    """A model of latents that are blocks' cosines, sure of the enlarged input."""
    codec = BlockTransform()
    return Model(
        lambda noisy, sigma, condition: condition["latents"],
        channels=codec.channels,
        codec=codec,
        prepare=lambda condition: {"latents": codec.encode(condition["picture"])},
        sigma_range=lambda condition: (0.01, 1.0),
        multiple=codec.factor,
    )


def restored(**options):
    truth, _, motion = moved()
    keywords = {"scale": 4, "model": blocks(), "steps": 2, "guidance": "none", "noise": "resample", "device": "cpu"}
    return wd.restore(wd.degrade(truth, scale=4), motion=motion, **keywords | options)


def test_a_restoration_does_so_on_request_whatever_its_lanes():
    motion = turn(FRAMES, SIZE)
    asked = ({}, {"decoded_guidance": 0.0}, *({"decoded_guidance": 1.0, "lanes": lanes} for lanes in (1, 3)))
    plain, none, one, three = (restored(**how) for how in asked)
    assert torch.equal(plain, none)
    torch.testing.assert_close(one, three, rtol=0, atol=ROUNDING)
    assert warping_error(one, motion) < warping_error(plain, motion) / 2  # the input is put back, and it differs too


def test_what_makes_no_sense_is_refused():
    for strength in (-1.0, nan, STRONGEST + 0.1):
        with pytest.raises(UserError, match="from 0, for none, to 2"):
            restored(decoded_guidance=strength)
    with pytest.raises(UserError, match="works on pixels"):
        restored(model=tiny_model(), decoded_guidance=1.0)
