"""The gp scheme: exact noise under any motion, coherent with the first frame as far as noise can be."""

import math
from itertools import pairwise

import pytest
import torch

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.flow import identity_map
from warped_diffusion.flow.motions import MOTIONS, known_motion
from warped_diffusion.metrics import coherence, coherence_reference, neighbour_correlation, variance, whitened_flatness
from warped_diffusion.metrics.noise import flatness_error
from warped_diffusion.noise import GaussianField, get_spectrum, make_scheme

SIZE, CHANNELS, FRAMES = (72, 96), 4, 6
VALUES = CHANNELS * SIZE[0] * SIZE[1]
SIGMAS = 4  # standard errors that a statistic of true noise may be off by
COMPLETION = 0.004  # what the polynomials of the completion may add to a variance
KEPT, SWIRLED = 0.96, 0.87  # of the best possible coherence; a swirl by 8 degrees a frame, 18 pixels in radius, is hard


def play(name: str, spectrum: str, seed: int = 0) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The noise of every frame, and the last one's map to the first."""
    motion = known_motion(name, FRAMES, SIZE)
    scheme = make_scheme("gp", channels=CHANNELS, size=SIZE, spectrum=spectrum, seed=seed)
    frames = [scheme.frame(j, motion.positions(j), motion.backward if j else None) for j in range(FRAMES)]
    return frames, motion.positions(FRAMES - 1)


@pytest.mark.parametrize("spectrum", ["white", "squared-exponential"])
@pytest.mark.parametrize("name", MOTIONS)
def test_noise_keeps_its_statistics_and_follows(name, spectrum):
    frames, positions = play(name, spectrum)
    last, density = frames[-1], get_spectrum(spectrum).density
    neighbours = 0.0 if spectrum == "white" else float(get_spectrum(spectrum).kernel(torch.ones(()), torch.zeros(())))
    # Correlated noise holds fewer independent values: 1 / sum of squared correlations of them, .43 for this kernel.
    error = math.sqrt(2 / (VALUES if spectrum == "white" else 0.43 * VALUES))
    assert abs(float(variance(last)) - 1) < SIGMAS * error + COMPLETION
    assert abs(float(neighbour_correlation(last)) - neighbours) < SIGMAS * error
    assert abs(float(whitened_flatness(last, density)) - 1) < SIGMAS * flatness_error(CHANNELS, SIZE)
    best = coherence_reference(positions, density)
    kept = SWIRLED if name == "swirl" else KEPT
    assert coherence(frames[0], last, positions) > kept * best
    step = known_motion(name, FRAMES, SIZE).backward
    assert coherence(frames[-2], last, step) > kept * coherence_reference(step, density)


def test_what_the_first_frame_cannot_give_is_carried_from_frame_to_frame():
    motion = known_motion("zoom-in", FRAMES, SIZE)
    still = make_scheme("gp", channels=CHANNELS, size=SIZE)
    frames = [still.frame(j, motion.positions(j)) for j in range(FRAMES)]
    carried, _ = play("zoom-in", "white")
    step = motion.backward
    assert coherence(carried[-2], carried[-1], step) > coherence(frames[-2], frames[-1], step) + 0.1


def test_a_translation_is_the_field_itself():
    positions = identity_map(*SIZE) + torch.tensor([3.4, -1.7])
    for spectrum in ("white", "squared-exponential"):
        scheme = make_scheme("gp", channels=CHANNELS, size=SIZE, spectrum=spectrum, seed=3)
        field = GaussianField(CHANNELS, SIZE, spectrum, seed=(3, 0))
        assert torch.allclose(scheme.frame(1, positions), field(positions), atol=1e-5)


def test_a_batch_of_maps_equals_its_items():
    maps = torch.stack([known_motion(name, FRAMES, SIZE).positions(5) for name in ("swirl", "zoom-out")])
    scheme = make_scheme("gp", channels=3, size=SIZE)
    together = scheme.frame(1, maps[:, None])
    assert together.shape == (2, 1, 3, *SIZE)
    for item, one in zip(together[:, 0], maps, strict=True):
        assert torch.equal(item, scheme.frame(1, one))


def test_odd_channels_are_the_first_of_even_ones():
    positions = known_motion("swirl", FRAMES, SIZE).positions(5)
    three, four = (make_scheme("gp", channels=n, size=SIZE).frame(0, positions) for n in (3, 4))
    # The fill differs; what is carried is the first channels of one draw.
    assert three.shape == (3, *SIZE)
    assert float((three * four[:3]).mean()) > 0.8
    assert abs(float(three.var()) - 1) < SIGMAS * math.sqrt(2 / three.numel())


def test_frames_out_of_order_are_refused_where_noise_is_carried():
    scheme = make_scheme("gp", channels=1, size=SIZE)
    here = identity_map(*SIZE)
    scheme.frame(0, here)
    with pytest.raises(UserError, match="in order"):
        scheme.frame(2, here, here)


def test_a_map_that_is_not_finite_is_refused():
    broken = identity_map(*SIZE)
    broken[3, 4, 0] = torch.nan
    scheme = make_scheme("gp", channels=1, size=SIZE)
    with pytest.raises(UserError, match="not finite"):
        scheme.frame(0, broken)
    with pytest.raises(UserError, match="not finite"):
        scheme.frame(1, identity_map(*SIZE), broken)


def half_known(left: float, right: float) -> torch.Tensor:
    """(H, W): one value on the left half of the frame, another on the right."""
    known = torch.full(SIZE, right)
    known[:, : SIZE[1] // 2] = left
    return known


@pytest.mark.parametrize("spectrum", ["white", "squared-exponential"])
def test_what_was_not_seen_before_gets_noise_of_its_own_and_keeps_it(spectrum):
    here, away = identity_map(*SIZE), 16  # pixels beyond which filtered noise of the two halves has nothing in common
    scheme = make_scheme("gp", channels=CHANNELS, size=SIZE, spectrum=spectrum, seed=5)
    first = scheme.frame(0, here)
    second = scheme.frame(1, here, here, half_known(1, 0))
    third = scheme.frame(2, here, here, half_known(1, 1))
    old, new = (..., slice(0, SIZE[1] // 2 - away)), (..., slice(SIZE[1] // 2 + away, None))
    assert (second[old] - first[old]).abs().max() < 0.02
    correlation = float((second[new] * first[new]).mean())
    assert abs(correlation) < SIGMAS / math.sqrt(0.43 * first[new].numel())
    assert (third - second).abs().max() < 0.02  # still, and all of it seen: nothing changes
    error = math.sqrt(2 / (VALUES if spectrum == "white" else 0.43 * VALUES))
    assert abs(float(variance(second)) - 1) < SIGMAS * error + COMPLETION


def test_half_trust_keeps_the_statistics():
    here = identity_map(*SIZE)
    scheme = make_scheme("gp", channels=16, size=SIZE, seed=2)
    first = scheme.frame(0, here)
    second = scheme.frame(1, here, here, torch.full(SIZE, 0.5))
    assert abs(float(variance(second)) - 1) < SIGMAS * math.sqrt(2 / second.numel()) + COMPLETION
    # p(C) κ with C = κ² = 1/4 and p = 1 + (1 − C) / 2.
    assert float((first * second).mean()) == pytest.approx(1.375 * 0.5, abs=0.02)


LONG, RATE = 24, 1.04


def test_a_long_zoom_begins_new_functions_and_stays_noise_that_follows():
    """2.5 times larger in the end: what the first frame held is a sixth of it."""
    centre = torch.tensor([(SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2])
    step = (identity_map(*SIZE) - centre) / RATE + centre
    scheme = make_scheme("gp", channels=CHANNELS, size=SIZE, seed=1)
    positions = identity_map(*SIZE)
    frames = [scheme.frame(0, positions)]
    for j in range(1, LONG):
        positions = (positions - centre) / RATE + centre
        frames.append(scheme.frame(j, positions, step))
    white = get_spectrum("white").density
    best = coherence_reference(step, white)
    for before, after in pairwise(frames):
        assert coherence(before, after, step) > KEPT * best
        assert abs(float(variance(after)) - 1) < SIGMAS * math.sqrt(2 / VALUES) + COMPLETION
        assert abs(float(neighbour_correlation(after))) < SIGMAS / math.sqrt(VALUES)


def test_known_of_another_size_is_refused():
    scheme, here = make_scheme("gp", channels=1, size=SIZE), identity_map(*SIZE)
    scheme.frame(0, here)
    with pytest.raises(ShapeError, match="one value per pixel"):
        scheme.frame(1, here, here, torch.ones(3, 4))


@pytest.mark.parametrize("size", [(1, 64), (3, 5), (40, 2)])
@pytest.mark.parametrize("spectrum", ["white", "squared-exponential"])
def test_frames_smaller_than_their_margins_begin_new_functions_too(size, spectrum):
    scheme = make_scheme("gp", channels=3, size=size, spectrum=spectrum, seed=0)
    here, nothing = identity_map(*size), torch.zeros(size)
    frames = torch.stack([scheme.frame(0, here), *(scheme.frame(j, here, here, nothing) for j in range(1, 4))])
    assert frames.shape == (4, 3, *size)
    assert frames.isfinite().all()
    assert 0.3 < float(frames.square().mean()) < 2
