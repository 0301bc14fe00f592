"""The restoration as a whole, with small models: what each frame starts from, and what it is tied to."""

import math
from itertools import pairwise

import pytest
import torch

import warped_diffusion as wd
from tests.estimators.scenes import background, grey_frame, similarity
from tests.models.tiny import tiny_denoiser
from warped_diffusion import tasks
from warped_diffusion.diffusion import DenoisedGuidance, NetworkGuidance, karras_sigmas
from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.flow import identity_map
from warped_diffusion.models import Model, embedded
from warped_diffusion.noise import make_scheme
from warped_diffusion.options import Options, choose_lanes
from warped_diffusion.restoration import ENOUGH
from warped_diffusion.restore import restore_stream
from warped_diffusion.tasks import area_average, back_project, enlarge

HEIGHT, WIDTH, SCALE = 10, 12, 4
SIZE = (SCALE * HEIGHT, SCALE * WIDTH)
SEED, STEPS = 3, 4
S = 0.05  # deviation of the known posterior, model units: samples stay within [0, 1]
RANGE = (S / 20, S * 15)
ROUNDING = 2e-5  # float32 sums in another order, carried through four steps
"""Largest difference in [0, 1] between batches of different size."""


def clip(count=5, seed=0):
    """Low-resolution frames of smooth blobs, all different, between 0.3 and 0.7: every one would be a shot."""
    noise = torch.rand(count, 3, HEIGHT // 2, WIDTH // 2, generator=torch.Generator().manual_seed(seed))
    return 0.3 + 0.4 * enlarge(noise, (HEIGHT, WIDTH)).clamp(0, 1)


def tiny_model():
    """The embedded architecture with random weights, wired as its file would be."""
    return Model(tiny_denoiser(), embedded.SPECTRA, lambda _: RANGE, lambda condition: condition["picture"])


def known_model(gain=None):
    """h = c + g S^2 / (S^2 + s^2) (u - c): for g = 1 exact where frames are their enlargement c plus white noise."""

    def denoiser(noisy, sigma, condition):
        skip = (S**2 / (S**2 + sigma**2))[:, None, None, None]
        skip = skip if gain is None else skip * gain.to(noisy)
        return condition["picture"] + skip * (noisy - condition["picture"])

    return Model(denoiser, ("white",), lambda _: RANGE, lambda condition: condition["picture"])


def motion(count=5, **changes):
    similarity = wd.Motion.analytic(count, SIZE, shift=(1.3, -0.6), rotation=1.0)
    fields = {name: getattr(similarity, name) for name in ("forward", "backward", "visible", "known")}
    return wd.Motion(**fields | changes)


def restore(frames, **options):
    defaults = {"scale": SCALE, "model": tiny_model(), "steps": STEPS, "seed": SEED, "device": "cpu"}
    if "motion" not in options:  # which says itself where cuts are
        defaults["cuts"] = "none"
    return wd.restore(frames, **defaults | options)


def enlarged(frames):
    return back_project(frames, SCALE).clamp(0, 1)


def euler_deviation():
    """What Euler's steps leave of unit noise under `known_model`: it is linear, so one number follows it."""
    levels = karras_sigmas(STEPS, *RANGE).tolist()
    left = levels[0]
    for s, s_next in pairwise(levels):
        skip = S**2 / (S**2 + s**2)
        left *= skip + s_next / s * (1 - skip)
    return left


@pytest.mark.parametrize("count", [1, 3])
def test_the_front_door_gives_a_clip_of_the_same_length_and_the_larger_size(count):
    restored = restore(clip(count))
    assert restored.shape == (count, 3, *SIZE)
    assert restored.dtype == torch.float32
    assert restored.min() >= 0
    assert restored.max() <= 1


@pytest.mark.parametrize("scale", [2, 3])
def test_odd_sizes_and_other_scales(scale):
    frames = clip(2)[..., :9, :11]
    assert restore(frames, scale=scale).shape == (2, 3, 9 * scale, 11 * scale)


def test_a_model_that_knows_the_picture_gives_it_whatever_the_noise():
    frames = clip(3)
    model = Model(lambda noisy, sigma, condition: condition["picture"], sigma_range=lambda _: RANGE)
    # Guidance would pull towards the frames before; two roundings between [0, 1] and [-1, 1] remain.
    torch.testing.assert_close(restore(frames, model=model, guidance="none"), enlarged(frames), rtol=0, atol=1e-6)


MOVES = [(4.0, (0.0, 0.0)), (0.0, (3.3, -1.6)), (2.0, (1.0, 1.0)), (-3.0, (0.0, 2.0))]
"""Degrees and shift from each frame to the next: no two commute, so that maps composed in the wrong order are seen."""


def test_every_frame_starts_from_one_random_function_at_its_own_positions(monkeypatch):
    """The linear model gives its picture plus a known multiple of the noise, at P_j = P_{j-1} o T_j^-1; a cut: anew."""
    monkeypatch.setattr(tasks, "TOLERANCE", math.inf)  # nothing of the noise contradicts the input
    frames, cut = clip(5), 3
    pairs = [wd.Motion.analytic(2, SIZE, rotation=degrees, shift=shift) for degrees, shift in MOVES]
    fields = {n: torch.cat([getattr(pair, n) for pair in pairs]) for n in ("forward", "backward", "visible", "known")}
    restored = restore(frames, model=known_model(), guidance="none", motion=wd.Motion(**fields, cuts=(cut,)))
    amplitude = euler_deviation() / 2  # from [-1, 1] to [0, 1]
    trusted = [(pair.known[0] / ENOUGH).clamp(max=1) for pair in pairs]
    for index in range(len(frames)):
        shot, first = (0, 0) if index < cut else (1, cut)
        scheme, matrix = make_scheme("gp", channels=3, size=SIZE, seed=SEED, shot=shot), torch.eye(3).double()
        noise = scheme.frame(0, identity_map(*SIZE))
        for step, (degrees, shift) in enumerate(MOVES[first:index]):
            matrix = matrix @ torch.linalg.inv(_affine(degrees, shift))
            backward = _moved(identity_map(*SIZE).double(), torch.linalg.inv(_affine(degrees, shift)))
            noise = scheme.frame(
                step + 1, _moved(identity_map(*SIZE).double(), matrix), backward, trusted[first + step]
            )
        expected = enlarged(frames[index : index + 1])[0] + amplitude * noise
        # Away from the border: beyond it the displacement of the edge holds, which is not the similarity's, and what
        # the noise is completed with feels that a little. Maps composed in the wrong order are off by .1 and more.
        inner = (..., slice(8, -8), slice(8, -8))
        torch.testing.assert_close(restored[index][inner], expected[inner], rtol=0, atol=2e-3)


def _affine(degrees, shift):
    """T about the frame's centre, homogeneous (3, 3)."""
    angle = math.radians(degrees)
    linear = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    centre = torch.tensor([(SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2])
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[:2, :2], matrix[:2, 2] = linear, centre - linear @ centre + torch.tensor(shift)
    return matrix


def _moved(positions, matrix):
    return (positions @ matrix[:2, :2].T + matrix[:2, 2]).float()


def test_a_model_of_pixels_may_want_other_sides_than_the_frames_have():
    """It sees them continued, and what was added is cut off again."""
    frames, seen = clip(2), []

    def denoiser(noisy, sigma, condition):
        seen.append(tuple(noisy.shape[-2:]))
        return condition["picture"]

    model = Model(denoiser, sigma_range=lambda _: RANGE, multiple=32)
    torch.testing.assert_close(restore(frames, model=model, guidance="none"), enlarged(frames), rtol=0, atol=1e-6)
    assert set(seen) == {(64, 64)}


def test_detail_scales_what_is_made_up(monkeypatch):
    """The linear model's deviation from its picture is a multiple of the first noise."""
    monkeypatch.setattr(tasks, "TOLERANCE", math.inf)
    frames = clip(2)
    smooth, half, whole, default = (
        restore(frames, model=known_model(), guidance="none", detail=detail) for detail in (0.0, 0.5, 1.0, None)
    )
    torch.testing.assert_close(smooth, enlarged(frames), rtol=0, atol=1e-6)
    torch.testing.assert_close(half - smooth, 0.75 * (whole - smooth), rtol=0, atol=1e-6)
    assert (whole - smooth).abs().max() > 0.01
    assert torch.equal(default, whole)


@pytest.mark.parametrize("guidance", ["none", "denoised", "network"])
def test_the_clip_is_the_same_for_every_number_of_lanes(guidance):
    frames = clip(5)
    first, *others = (
        restore(frames, guidance=guidance, lanes=lanes, motion=motion()) for lanes in (1, 2, 3, 5, 8, "auto")
    )
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=ROUNDING)


def test_frames_to_come_change_nothing():
    frames = clip(5)
    torch.testing.assert_close(restore(frames)[:3], restore(frames[:3]), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("guidance", ["denoised", "network"])
def test_strength_zero_is_bit_equal_to_no_guidance(guidance):
    frames = clip(4)
    torch.testing.assert_close(
        restore(frames, guidance=guidance, strength=0.0), restore(frames, guidance="none"), rtol=0, atol=0
    )


@pytest.mark.parametrize("noise", ["gp", "fixed", "resample"])
def test_a_seed_names_the_clip(noise):
    frames = clip(3)
    once, again, other = (restore(frames, noise=noise, seed=seed) for seed in (1, 1, 2))
    torch.testing.assert_close(once, again, rtol=0, atol=0)
    assert (once - other).abs().mean() > 0.01


@pytest.mark.parametrize(
    ("guidance", "gain"), [("denoised", 3), (DenoisedGuidance(anchors={"key": 1.0}), 3), (NetworkGuidance(), 1.2)]
)
def test_guidance_lowers_the_first_frame_error_of_a_model_that_follows_the_screen(guidance, gain):
    """Its detail is drawn with a gain that stays on the screen while the picture moves, so noise alone cannot agree."""
    generator = torch.Generator().manual_seed(1)
    model = known_model(gain=0.4 + 1.2 * torch.rand(3, *SIZE, generator=generator))
    frames = clip(1).mean((-2, -1), keepdim=True).expand(6, 3, HEIGHT, WIDTH)
    moving = wd.Motion.analytic(6, SIZE, shift=(1.3, -0.6))
    options = {"model": model, "motion": moving, "steps": 20}
    errors = {
        name: float(wd.warping_error(restore(frames, guidance=how, **options), moving, per_frame=True)[-1])
        for name, how in (("guided", guidance), ("unguided", "none"))
    }
    assert errors["guided"] * gain < errors["unguided"]


def test_a_cut_starts_fresh_noise_and_ties_nothing_across():
    still = wd.Motion.analytic(4, SIZE)
    fields = {name: getattr(still, name) for name in ("forward", "backward", "visible", "known")}
    frames = clip(1).expand(4, -1, -1, -1)
    whole, cut = (restore(frames, motion=wd.Motion(**fields, cuts=cuts)) for cuts in ((), (2,)))
    torch.testing.assert_close(whole, whole[:1].expand_as(whole), rtol=0, atol=ROUNDING)  # a still stays still
    torch.testing.assert_close(cut[:2], whole[:2], rtol=0, atol=ROUNDING)
    torch.testing.assert_close(cut[3], cut[2], rtol=0, atol=ROUNDING)
    assert (cut[2] - whole[2]).abs().mean() > 0.01

    other = torch.cat([clip(2, seed=9), frames[2:]])  # another first shot: the second one must not notice
    torch.testing.assert_close(
        restore(other, motion=wd.Motion(**fields, cuts=(2,)))[2:], cut[2:], rtol=0, atol=ROUNDING
    )


def test_an_unlinked_pair_would_have_shown_up_across_that_cut():
    """The sensitivity of the test above: without the cut, the first shot is felt in the second."""
    still, frames = wd.Motion.analytic(4, SIZE), clip(1).expand(4, -1, -1, -1)
    other = torch.cat([clip(2, seed=9), frames[2:]])
    difference = restore(other, motion=still)[2:] - restore(frames, motion=still)[2:]
    assert difference.abs().mean() > 0.001


def shots():
    """Two shots of four frames of 24 x 32, each a texture of its own that moves, and the two joined."""
    first, second = (
        torch.stack([area_average(grey_frame(background(similarity(j, step), seed)), 5) for j in range(4)])
        for step, seed in (((4.0, 1.0), 3), ((-2.0, 3.0), 8))
    )
    return first, second, torch.cat([first, second])


@pytest.mark.parametrize("cuts", ["auto", [4]])
@pytest.mark.parametrize(
    ("noise", "guidance", "fresh"),
    [
        ("gp", "denoised", 0.0),
        ("gp", "network", 0.2),
        ("integral", "denoised", 0.0),
        ("bilinear", "none", 0.0),
        ("fixed", "denoised", 0.0),
        ("fixed", "none", 0.0),
        ("resample", "none", 0.0),
    ],
)
def test_each_shot_of_a_clip_is_as_if_it_stood_alone(cuts, noise, guidance, fresh):
    first, second, joined = shots()
    options = {"scale": 2, "noise": noise, "guidance": guidance, "fresh": fresh, "lanes": 3}
    whole = restore(joined, cuts=cuts, **options)
    torch.testing.assert_close(whole[:4], restore(first, **options), rtol=0, atol=ROUNDING)
    torch.testing.assert_close(whole[4:], restore(second, shot=1, **options), rtol=0, atol=ROUNDING)
    # What that would not notice, were the shot no part of the noise's key, or the cut without effect:
    for other in (restore(second, **options), restore(joined, **options)[4:]):
        assert (whole[4:] - other).abs().mean() > 0.01


def test_a_shot_after_a_shot_is_counted_on():
    first, second, joined = shots()
    whole = restore(torch.cat([joined, first]), scale=2, cuts="auto", shot=5)
    for part, start, shot in ((first, 0, 5), (second, 4, 6), (first, 8, 7)):
        torch.testing.assert_close(whole[start : start + 4], restore(part, scale=2, shot=shot), rtol=0, atol=ROUNDING)


def test_a_known_motion_has_its_own_cuts():
    """Where it says nothing of them nothing is looked for, though every frame of this clip is another scene."""
    frames = clip(5)
    uncut, cut = motion(), motion(cuts=(3,))
    expected = {moving: restore(frames, motion=moving) for moving in (uncut, cut)}
    assert (expected[uncut][:3] - expected[cut][:3]).abs().max() < ROUNDING
    assert (expected[uncut][3:] - expected[cut][3:]).abs().mean() > 0.01
    assert torch.equal(restore(frames, motion=uncut, cuts="none"), expected[uncut])
    assert torch.equal(restore(frames, motion=cut, cuts=[3]), expected[cut])
    for moving, cuts, has in ((uncut, [3], "none"), (cut, "none", "3"), (cut, [2], "3")):
        with pytest.raises(UserError, match=f"the motion has its own cuts, {has}: leave out cuts, got"):
            restore(frames, motion=moving, cuts=cuts)


@pytest.mark.parametrize("cuts", ["sometimes", "2,3", [0], [2, -1], [1.5], [True]])
def test_cuts_are_auto_none_or_frames(cuts):
    with pytest.raises(UserError, match='cuts are "auto", "none" or the first frames of new shots, each from 1 up'):
        restore(clip(5), cuts=cuts)


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"cuts": [2, 5]}, UserError, "cuts has frame 5, the clip's last is 4: count from 0"),
        ({"shot": -1}, UserError, "shot is a whole number from 0 up, got -1"),
        ({"motion": motion(4)}, ShapeError, "motion is of 4 frames, the clip has 5"),
        ({"motion": wd.Motion.analytic(5, (HEIGHT, WIDTH))}, ShapeError, r"expected the output's \(40, 48\)"),
        ({"mask": torch.ones(5, *SIZE)}, UserError, "takes no mask"),
        ({"task": "colouring"}, UserError, "task is one of super-resolution"),
        ({"scale": 9}, UserError, "whole number from 2 to 8, got 9"),
        ({"model": "absent"}, UserError, "no model 'absent'"),
        ({"noise": "pink"}, UserError, "pink"),
        ({"spectrum": "brown"}, UserError, "brown"),
        ({"detail": 1.5}, UserError, "detail is from 0"),
        ({"model": known_model(), "spectrum": "squared-exponential"}, UserError, "the model knows noise of .*white"),
        ({"guidance": "gentle"}, UserError, "no guidance is called 'gentle'"),
        ({"strength": -1.0}, UserError, "from 0 up, got -1"),
        ({"steps": 0}, UserError, "at least 1 step"),
        ({"solver": "heun"}, UserError, "no solver is called 'heun'"),
        ({"lanes": 0}, UserError, "lanes is a whole number from 1 up"),
        ({"lanes": "many"}, UserError, "lanes is a whole number from 1 up"),
        ({"flow": "guess"}, UserError, "guess"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(change, error, sentence):
    with pytest.raises(error, match=sentence) as caught:
        restore(clip(5), **change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(3, HEIGHT, WIDTH), (0, 3, HEIGHT, WIDTH), (2, 4, HEIGHT, WIDTH)])
def test_frames_of_another_shape_are_refused(shape):
    with pytest.raises(ShapeError, match=r"frames are \(N, 3, h, w\)"):
        restore(torch.zeros(shape))


def stream(frames, guidance="denoised", noise="gp", lanes=2, progress=lambda _: None, moving=None):
    how = {"guidance": guidance, "noise": noise, "lanes": lanes, "seed": SEED, "device": "cpu"}
    options = Options(scale=SCALE, model=tiny_model(), steps=STEPS, cuts="auto" if moving else "none", **how)
    return restore_stream(frames, options, moving, progress)


def test_a_wrong_option_is_told_before_the_second_frame_is_asked_for():
    read = []
    with pytest.raises(UserError, match="guidance"):
        stream(_counted(clip(5), read), guidance="gentle")
    assert len(read) <= 1


def test_a_frame_of_another_size_is_named_when_it_is_reached():
    restored = stream(iter([*clip(2), torch.zeros(3, HEIGHT + 1, WIDTH)]), lanes=1)
    assert next(restored).shape == (3, *SIZE)
    with pytest.raises(ShapeError, match="frame 2 is"):
        list(restored)


@pytest.mark.parametrize("lanes", [1, 2, 4])
@pytest.mark.parametrize("guidance", ["none", "denoised"])
def test_frames_are_read_as_they_are_needed(lanes, guidance):
    read, ahead = [], []
    frames = stream(_counted(clip(12), read), guidance, lanes=lanes, moving=motion(12))
    for written, _frame in enumerate(frames):
        ahead.append(len(read) - written)
    assert len(ahead) == len(read) == 12
    assert max(ahead) <= lanes + 1  # those in the lanes, and the first, which is read to learn the size


def _counted(frames, read):
    for frame in frames:
        read.append(None)
        yield frame


def test_a_stream_of_nothing_is_nothing():
    assert list(stream(iter(()))) == []


def test_a_stream_gives_what_the_front_door_gives_and_counts_its_evaluations():
    done = []
    frames = clip(4)
    restored = torch.stack(list(stream(iter(frames), lanes=3, progress=done.append)))
    torch.testing.assert_close(restored, restore(frames, lanes=3), rtol=0, atol=0)
    assert sum(done) == len(frames) * STEPS


def test_noise_that_does_not_move_needs_no_flow(monkeypatch):
    def refuse(*_):
        raise AssertionError("flow was estimated")

    monkeypatch.setattr("warped_diffusion.restoration.estimate_pair", refuse)
    for noise in ("fixed", "resample"):
        assert len(list(stream(iter(clip(3)), guidance="none", noise=noise))) == 3
    for guidance, noise in (("none", "gp"), ("denoised", "fixed")):
        with pytest.raises(AssertionError, match="flow was estimated"):
            list(stream(iter(clip(3)), guidance=guidance, noise=noise))


@pytest.mark.parametrize(("lanes", "expected"), [(1, 1), (7, 7), ("auto", 16)])
def test_lanes_are_as_asked_or_as_many_as_fit(lanes, expected):
    assert choose_lanes(lanes, (32, 32), torch.device("cpu")) == expected


def test_a_frame_that_fills_the_budget_has_one_lane():
    assert choose_lanes("auto", (2160, 3840), torch.device("cpu")) == 1


def test_tiles_make_the_frame_that_is_made_whole():
    """The embedded network sees 74 pixels around each, tiles of 64 know 4 beyond what counts: a small difference."""
    small = torch.rand(2, 3, 10, 12, generator=torch.Generator().manual_seed(0))
    frames = enlarge(small, (40, 48)).clamp(0, 1)
    options = {"model": "embedded", "scale": 4, "cuts": "none", "steps": 6, "flow": "dis", "device": "cpu"}
    whole, tiled = (wd.restore(frames, tile=tile, **options) for tile in ("auto", 64))
    assert not torch.equal(whole, tiled)
    assert (whole - tiled).square().mean().sqrt() < 3e-3
    assert (whole - tiled).abs().max() < 0.06
