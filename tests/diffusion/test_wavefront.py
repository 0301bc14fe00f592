"""The sweep against the literal loop, and what it promises on order, laziness, batches and memory."""

import itertools
from math import ceil

import pytest
import torch

from tests.diffusion.literal import literal_clip
from tests.diffusion.toy import CHANNELS, HEIGHT, SIGMAS, WIDTH, ToyDenoiser, moving_clip, randn
from warped_diffusion.diffusion import FrameInput, NetworkGuidance, get_solver, make_guidance, sample
from warped_diffusion.diffusion.wavefront import Wavefront
from warped_diffusion.errors import ShapeError, UserError

STEPS = len(SIGMAS) - 1
GUIDANCES = {
    "none": make_guidance("none"),
    "network-literal": NetworkGuidance(0.3, "literal"),
    "network-calibrated": NetworkGuidance(2.0, "calibrated"),
    "denoised": make_guidance("denoised", 1.3),
}
# Batches of different size and dense against sparse sums round differently, each step hands it on: float64, 7 frames.
ROUNDING = 1e-10


@pytest.mark.parametrize("lanes", [1, 2, 3, 7, 9])
@pytest.mark.parametrize("guidance", GUIDANCES)
@pytest.mark.parametrize("solver", ["euler", "dpmpp-2m"])
def test_every_lane_count_gives_the_literal_loop(solver, guidance, lanes):
    frames = moving_clip()
    expected = literal_clip(ToyDenoiser(), frames, SIGMAS, solver, guidance, GUIDANCES[guidance].strength)
    clip = list(sample(ToyDenoiser(), frames, SIGMAS, get_solver(solver), GUIDANCES[guidance], lanes))
    torch.testing.assert_close(torch.stack(clip), torch.stack(expected), rtol=ROUNDING, atol=ROUNDING)


def test_guidance_changes_the_clip():
    """Or the comparison above would compare nothing."""
    clips = {
        name: torch.stack(list(sample(ToyDenoiser(), moving_clip(), SIGMAS, get_solver("euler"), guidance, 3)))
        for name, guidance in GUIDANCES.items()
    }
    for one, other in itertools.combinations(clips, 2):
        difference = (clips[one] - clips[other]).abs().amax(dim=(1, 2, 3))
        assert (difference[[0, 5]] == 0).all(), "the first frames of shots have nothing to follow"
        assert (difference[[1, 2, 3, 4, 6]] > 1e-3).all(), (one, other)


@pytest.mark.parametrize("solver", ["euler", "dpmpp-2m"])
@pytest.mark.parametrize("guidance", ["network", "denoised"])
def test_strength_zero_is_no_guidance_bit_for_bit(guidance, solver):
    def clip(name, strength):
        guide = make_guidance(name, strength)
        return torch.stack(list(sample(ToyDenoiser(), moving_clip(), SIGMAS, get_solver(solver), guide, 3)))

    assert torch.equal(clip(guidance, 0.0), clip("none", 1.0))


@pytest.mark.parametrize("lanes", [1, 2, 3, 5, 20])
def test_number_of_evaluations(lanes):
    """One batch per tick: n m alone, n + m - 1 with lanes enough, about ceil(n / lanes) m between."""
    denoiser, frames = ToyDenoiser(), [*moving_clip(5), *_chain(range(5, 12))]
    clip = list(sample(denoiser, frames, SIGMAS, get_solver("euler"), make_guidance("denoised"), lanes))
    n, m = len(frames), STEPS
    assert len(clip) == n
    assert sum(denoiser.batches) == n * m
    assert max(denoiser.batches) <= lanes
    least = n + m - 1 if lanes >= min(n, m) else ceil(n / lanes) * m
    assert least <= len(denoiser.batches) <= least + (lanes - 1 if lanes < min(n, m) else 0)


def test_without_guidance_no_frame_waits():
    denoiser = ToyDenoiser()
    list(sample(denoiser, moving_clip(6), SIGMAS, get_solver("euler"), make_guidance("none"), lanes=3))
    assert denoiser.batches == [3] * (2 * STEPS)


@pytest.mark.parametrize("lanes", [1, 3])
def test_frames_are_asked_for_only_when_a_lane_is_free(lanes):
    taken = 0

    def frames():
        nonlocal taken
        for frame in moving_clip():
            taken += 1
            yield frame

    clip = sample(ToyDenoiser(), frames(), SIGMAS, get_solver("euler"), make_guidance("denoised"), lanes)
    assert taken == 0
    for finished, _ in enumerate(clip):
        assert taken <= finished + lanes


@pytest.mark.parametrize("lanes", [1, 4])
def test_memory_does_not_grow_with_the_clip(lanes):
    def most_kept(length):
        frames = itertools.chain(moving_clip(5), _chain(range(5, length)))
        levels, guidance = SIGMAS.tolist(), make_guidance("denoised")
        sweep = Wavefront(ToyDenoiser(), frames, levels, get_solver("euler"), guidance, lanes)
        most = 0
        for frame in sweep.run():
            most = max(most, len(sweep.estimates))
            # Nothing that is kept may be an item of a batch, or it would keep the whole batch.
            assert all(h.untyped_storage().nbytes() == frame.nbytes for h in sweep.estimates.values())
        return most

    assert most_kept(40) == most_kept(20) <= 2 * lanes + 2 * STEPS


def test_state_is_float32_whatever_the_noise():
    seen = set()

    def denoiser(noisy, sigma, condition):
        seen.update({noisy.dtype, sigma.dtype})
        return (noisy / 2).to(torch.bfloat16)

    frames = [FrameInput(randn(CHANNELS, HEIGHT, WIDTH, seed=0).half())]
    (frame,) = sample(denoiser, frames, SIGMAS, get_solver("euler"), make_guidance("none"))
    assert frame.dtype == torch.float32
    assert seen == {torch.float32}


def test_gradients_are_neither_left_on_nor_switched_off_for_the_caller():
    guidance = make_guidance("network")
    for frame in sample(ToyDenoiser(), moving_clip(), SIGMAS, get_solver("euler"), guidance, 2):
        assert torch.is_grad_enabled()
        assert not frame.requires_grad


def test_an_empty_clip_gives_no_frame():
    assert list(sample(ToyDenoiser(), [], SIGMAS, get_solver("euler"), make_guidance("none"))) == []


@pytest.mark.parametrize("sigmas", [[1.0], [1.0, 1.0, 0.0], [0.0, 1.0], [1.0, -0.1], [float("nan"), 0.0]])
def test_unusable_levels_are_refused_at_once(sigmas):
    with pytest.raises(UserError, match="strictly decreasing"):
        sample(ToyDenoiser(), [], sigmas, get_solver("euler"), make_guidance("none"))


def test_unusable_frames_are_refused():
    def run(*frames, lanes=2):
        return list(sample(ToyDenoiser(), frames, SIGMAS, get_solver("euler"), make_guidance("denoised"), lanes))

    clip = moving_clip(4)
    with pytest.raises(UserError, match="at least 1 lane"):
        run(lanes=0)
    with pytest.raises(ShapeError, match=r"noise of frame 1 must be \(2, 10, 12\)"):
        run(clip[0], FrameInput(torch.zeros(2, 8, 8), clip[0].condition))
    with pytest.raises(ShapeError, match=r"must be \(C, H, W\), got \(8, 8\)"):
        run(FrameInput(torch.zeros(8, 8)))
    with pytest.raises(ShapeError, match="start of frame 0"):
        run(FrameInput(torch.zeros(2, 8, 8), start=torch.zeros(8, 8)))
    unmarked = FrameInput(clip[0].noise, clip[0].condition)
    with pytest.raises(UserError, match="mark frame 0 as a key frame"):
        run(unmarked, *clip[1:])


def _chain(indices):
    """More frames, each tied to the one before it: `moving_clip`'s frame 1 with its link moved along."""
    link = moving_clip(2)[1].links[0]
    for j in indices:
        tie = type(link)(j - 1, link.warp, link.visible, link.known)
        condition = {"picture": randn(1, HEIGHT, WIDTH, seed=j)}
        yield FrameInput(randn(CHANNELS, HEIGHT, WIDTH, seed=500 + j), condition, (tie,), is_key=j % 6 == 0)
