"""The benchmark of steadiness: its clips, its measures and its verdicts, on small models; no figure of the method."""

import importlib
import json
from dataclasses import replace

import pytest
import torch

from tests.models.tiny import tiny_denoiser
from warped_diffusion.bench import BENCHMARKS, Options
from warped_diffusion.errors import UserError
from warped_diffusion.evaluate.moved import MARGIN
from warped_diffusion.metrics import newly_exposed
from warped_diffusion.models import Model, embedded
from warped_diffusion.tasks import area_average

steadiness = importlib.import_module("warped_diffusion.bench.steadiness")  # by its path it is the function
Case, Effort, Figures = steadiness.Case, steadiness.TimedEffort, steadiness.Figures

SIZE = (24, 32)
EFFORT = Effort(frames=3, size=SIZE, draws=2, steps=3, timed_frames=2, timed_steps=2, lanes=2)
OPTIONS = Options(warmup=0, repeats=1, scale=4)
SHIFT, TURN = steadiness.MOTIONS


def picture(size=SIZE):
    """Waves a fair way below the Nyquist rate, which the quintic spline reads without loss, `MARGIN` larger."""
    height, width = (length + 2 * MARGIN for length in size)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([0.5 + 0.3 * torch.cos(0.5 * x - 0.3 * y + phase) for phase in (0.0, 1.0, 2.0)])


def case(motion=SHIFT):
    return steadiness.make_case(picture(), EFFORT, 4, steadiness.MOTIONS[motion])


def known_model():
    """h = c + (u - c) / (1 + s^2 / S^2), exact for white noise about the enlargement; it counts its evaluations."""
    count = [0]

    def denoiser(noisy, sigma, condition):
        count[0] += len(noisy)
        return condition["picture"] + (noisy - condition["picture"]) / (1 + (sigma / 0.1) ** 2)[:, None, None, None]

    model = Model(denoiser, ("white",), lambda _: (0.005, 1.5), lambda condition: condition["picture"])
    return model, count


def test_it_is_registered():
    assert BENCHMARKS["steadiness"] is steadiness.steadiness


@pytest.mark.parametrize("name", [SHIFT, TURN])
def test_the_clip_moves_as_its_motion_says_and_is_reduced_by_area_average(name):
    made = case(name)
    margin = MARGIN
    torch.testing.assert_close(made.truth[0], picture()[:, margin:-margin, margin:-margin], rtol=0, atol=0)
    assert made.truth.shape == (3, 3, *SIZE)
    torch.testing.assert_close(made.degraded, area_average(made.truth, 4), rtol=0, atol=0)
    # The ruler's own error on these waves, and that of float32 positions: far below any restoration's.
    found = steadiness.measured(made.truth, made)
    assert found.to_first < 1e-5
    assert found.to_previous < 1e-5


def test_the_shift_is_the_formula_shifted():
    made, margin = case(SHIFT), MARGIN
    y, x = torch.meshgrid(torch.arange(SIZE[0]) + margin, torch.arange(SIZE[1]) + margin, indexing="ij")
    expected = 0.5 + 0.3 * torch.cos(0.5 * (x - 2 * 1.37) - 0.3 * (y - 2 * 0.61))
    torch.testing.assert_close(made.truth[2, 0], expected, rtol=0, atol=1e-4)


def test_newly_exposed_pixels_grow_from_none():
    for name in (SHIFT, TURN):
        exposed = case(name).exposed.sum((-2, -1))
        assert exposed[0] == 0
        assert exposed[1] < exposed[2]


def test_the_beginning_of_a_case_is_the_case_made_shorter():
    whole, part = case(TURN), case(TURN).beginning(2)
    torch.testing.assert_close(part.truth, whole.truth[:2], rtol=0, atol=0)
    torch.testing.assert_close(part.motion.backward, whole.motion.backward[:1], rtol=0, atol=0)
    torch.testing.assert_close(part.exposed, whole.exposed[:2])


def test_an_error_that_moves_with_the_picture_is_seen_by_psnr_alone():
    made = case(SHIFT)
    found, true = steadiness.measured(made.truth + 0.1, made), steadiness.measured(made.truth, made)
    assert found.psnr == pytest.approx(20, abs=1e-3)
    assert found.exposed == pytest.approx(20, abs=1e-3)
    assert found.to_first == pytest.approx(true.to_first, abs=1e-6)
    assert found.detail_ratio == pytest.approx(true.detail_ratio, rel=1e-3)


def test_psnr_on_newly_exposed_pixels_sees_no_others_and_counts_each_alike():
    made = case(SHIFT)
    spoilt = torch.where(made.exposed[:, None], made.truth, made.truth + 0.5)
    spoilt[2] = torch.where(made.exposed[2], made.truth[2] + 0.1, spoilt[2])  # of the frames 1 and 2 that show any
    share = made.exposed[2].sum() / made.exposed.sum()
    assert steadiness.measured(spoilt, made).exposed == pytest.approx(20 - 10 * float(share.log10()), abs=1e-3)


def test_an_error_that_stays_on_the_screen_is_seen_by_the_warping_errors():
    made = case(SHIFT)
    pattern = 0.1 * torch.sign(torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(0)))
    found = steadiness.measured(made.truth + pattern, made)
    # Two independent patterns of mean square .01, one of them read between pixels by a spline that passes about half.
    assert 0.012 < found.to_first < 0.02
    assert 0.012 < found.to_previous < 0.02


def test_the_last_frame_is_the_one_that_is_compared_with_the_first():
    made = case(SHIFT)
    pattern = 0.1 * torch.sign(torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(0)))
    for frame, seen in ((1, False), (2, True)):
        spoilt = made.truth.clone()
        spoilt[frame] += pattern
        assert (steadiness.measured(spoilt, made).to_first > 0.002) == seen


@pytest.mark.parametrize("way", list(steadiness.WAYS))
def test_every_way_restores_the_clip_with_as_many_evaluations(way):
    model, count = known_model()
    made = case()
    restored = steadiness.run(made, steadiness.WAYS[way], model, OPTIONS, EFFORT)
    assert restored.shape == made.truth.shape
    assert count == [EFFORT.frames * EFFORT.steps]


def test_ways_that_are_guided_differ_from_none_and_from_each_other():
    model, _ = known_model()
    # The known model is indifferent to where a pixel is: without a screen of its own nothing would be left to guide.
    gain = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0))
    bound = replace(model, denoiser=lambda u, s, c: c["picture"] + gain * (model.denoiser(u, s, c) - c["picture"]))
    clips = {name: steadiness.run(case(), way, bound, OPTIONS, EFFORT) for name, way in steadiness.WAYS.items()}
    names = list(clips)
    for i, one in enumerate(names):
        for other in names[:i]:
            assert not torch.equal(clips[one], clips[other]), (one, other)
    assert steadiness.measured(clips["default"], case()).to_first < steadiness.measured(clips["none"], case()).to_first


def test_every_way_is_timed_on_the_same_work():
    model, count = known_model()
    seconds = steadiness.timed(case(), model, replace(OPTIONS, warmup=1, repeats=2), EFFORT)
    assert list(seconds) == list(steadiness.WAYS)
    assert all(value > 0 for value in seconds.values())
    assert count == [len(steadiness.WAYS) * 3 * EFFORT.timed_frames * EFFORT.timed_steps]


GOOD = {
    "none": Figures(0.01, 0.01, 22.0, 0.001, 0.001, 20.0),
    "resampled": Figures(0.03, 0.03, 22.0, 0.001, 0.001, 20.0),
    "default": Figures(0.0006, 0.001, 21.8, 0.001, 0.0012, 19.8),
    "warp only": Figures(0.0001, 0.0001, 21.0, 0.001, 0.0008, 16.0),
    "true clip": Figures(0.0001, 0.0001, 99.0, 0.001, 0.001, 99.0),
}
COSTS = {"none": 0.1, "default": 0.13}


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({}, None),
        ({"to_first": 0.0007}, 0),  # 1/43 of resampled, but 1/14.3 of none
        ({"to_first": 0.0002}, None),
        ({"psnr": 21.6}, 1),
        ({"detail_last": 0.0013}, 2),
        ({"detail_last": 0.0007}, 2),
        ({"exposed": 19.6}, 3),
        ({"exposed": 15.0}, 3),
    ],
)
def test_verdicts_hold_the_default_to_each_bound(change, failing):
    found = steadiness.verdicts(GOOD | {"default": replace(GOOD["default"], **change)}, COSTS)
    assert [met for _, met in found] == [number != failing for number in range(5)]


def test_twice_the_true_clips_own_error_is_enough():
    figures = GOOD | {"true clip": replace(GOOD["true clip"], to_first=0.004)}
    figures["default"] = replace(GOOD["default"], to_first=0.0075)
    assert steadiness.verdicts(figures, COSTS)[0][1]


def test_a_step_that_costs_too_much_is_said_with_its_figure():
    text, met = steadiness.verdicts(GOOD, COSTS | {"default": 0.14})[-1]
    assert not met
    assert "1.40 times" in text


def test_the_report_has_a_row_for_every_clip_and_a_verdict_for_every_bound(tmp_path):
    weights = tmp_path / "weights.safetensors"
    embedded.save(tiny_denoiser(), weights, {})
    options = replace(OPTIONS, model=str(weights), out=tmp_path / "out")
    report = steadiness.compare(options, EFFORT, picture())
    ways = [*steadiness.WAYS, "warp only", "true clip"]
    assert [row[:2] for row in report.rows] == [[motion, way] for motion in steadiness.MOTIONS for way in ways]
    content = json.loads(report.json())
    true, none = content["rows"][len(ways) - 1], content["rows"][0]
    assert (true["PSNR, dB"], true["cost / none"]) == ("inf", None)
    assert (none["none / this"], none["cost / none"]) == (1, 1)
    assert sum(note.startswith("default, ") for note in report.notes) == 5 * len(steadiness.MOTIONS)
    first, second = (
        steadiness.compare(replace(options, seed=seed, out=None), replace(EFFORT, draws=1), picture())
        for seed in (0, 1)
    )
    for row, one, other in zip(report.rows, first.rows, second.rows, strict=True):
        assert row[2] == pytest.approx((one[2] + other[2]) / 2)  # figures are means over the draws
    assert {path.name for path in options.out.iterdir()} == {"steadiness-1.png", "steadiness-2.png"}


def test_the_margin_is_wide_enough_for_either_motion():
    """Every pixel of every frame comes from within the still, and from as far inside as the spline reaches."""
    effort = Effort()
    large = tuple(length + 2 * MARGIN for length in effort.size)
    height, width = large
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    reach = 12
    safe = torch.minimum(torch.minimum(x, width - 1 - x), torch.minimum(y, height - 1 - y)) >= reach
    cut = (slice(MARGIN, -MARGIN),) * 2
    for make in steadiness.MOTIONS.values():
        motion = make(effort.frames, large)
        known = replace(motion, visible=motion.visible * safe, known=None)
        exposed = newly_exposed(known, effort.frames - 1)
        assert not exposed[cut].any()


@pytest.mark.parametrize(("scale", "size", "sentence"), [(5, SIZE, "divides both"), (4, (20, 32), "the still is")])
def test_a_clip_that_cannot_be_made_is_one_sentence(scale, size, sentence):
    with pytest.raises(UserError, match=sentence):
        steadiness.make_case(picture(size), EFFORT, scale, steadiness.MOTIONS[SHIFT])
