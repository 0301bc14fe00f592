"""The benchmark of white noise that follows the picture: what is told and drawn, its measures and its verdicts."""

import importlib
import json
from dataclasses import replace

import pytest
import torch

from tests.models.tiny import tiny_denoiser
from warped_diffusion.bench import BENCHMARKS, Options
from warped_diffusion.bench.stills import Effort
from warped_diffusion.errors import UserError
from warped_diffusion.evaluate.moved import MARGIN
from warped_diffusion.metrics import neighbour_correlation, newly_exposed
from warped_diffusion.models import Model, embedded
from warped_diffusion.noise import SquaredExponential

zero_shot = importlib.import_module("warped_diffusion.bench.zero_shot")  # by its path it is the function
Figures, RESAMPLED, WARPED, WRONG = zero_shot.Figures, zero_shot.RESAMPLED, zero_shot.WARPED, zero_shot.WRONG

SIZE = (24, 32)
EFFORT = Effort(frames=3, size=SIZE, draws=2, steps=2, lanes=2)
OPTIONS = Options(scale=4)


def picture(size=SIZE):
    """Waves that the spline reads without loss, `MARGIN` larger."""
    height, width = (length + 2 * MARGIN for length in size)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([0.5 + 0.3 * torch.cos(0.5 * x - 0.3 * y + phase) for phase in (0.0, 1.0, 2.0)])


def case(effort=EFFORT):
    return zero_shot.make_case(picture(effort.size), effort, 4, next(iter(zero_shot.MOTIONS.values())))


def listening_model():
    """A model of two spectra, the second one white, that keeps what it is told and the noise that it is given first."""
    heard, first = [], []

    def denoiser(noisy, sigma, condition):
        heard.extend(condition["spectrum"].tolist())
        first.extend((noisy - condition["picture"]) / sigma[:, None, None, None] if sigma.min() > 1 else ())
        return condition["picture"].clone()

    spectra = ("squared-exponential", "white")
    return Model(denoiser, spectra, lambda _: (0.005, 1.5), lambda condition: condition["picture"]), heard, first


def test_it_is_registered():
    assert BENCHMARKS["zero-shot"] is zero_shot.zero_shot


@pytest.mark.parametrize("name", list(zero_shot.NOISES))
def test_the_network_is_told_white_whatever_is_drawn(name):
    noise, effort = zero_shot.NOISES[name], replace(EFFORT, frames=2, size=(64, 96), draws=1)
    model, heard, first = listening_model()
    clips = zero_shot.restored(case(effort), noise, zero_shot.told(model, "white"), OPTIONS, effort)
    assert clips.shape == (1, 2, 3, 64, 96)
    assert set(heard) == {1}  # of the model's own spectra
    assert len(first) == 2
    drawn = torch.stack(first)
    spectrum = SquaredExponential()
    expected = 0.0 if noise.spectrum == "white" else float(spectrum.correlation(torch.tensor(1.0)))
    # 3 channels of 6144 pixels a frame: the deviation of white noise's correlation is 1 / sqrt(2 * 18432)
    for frame in drawn:
        assert float(neighbour_correlation(frame)) == pytest.approx(expected, abs=0.03)
        assert float(frame.var()) == pytest.approx(1, abs=0.06)


def test_a_model_that_does_not_know_white_noise_is_one_sentence():
    model, *_ = listening_model()
    with pytest.raises(UserError, match="knows noise of spectrum squared-exponential, not 'white'"):
        zero_shot.told(replace(model, spectra=("squared-exponential",)), "white")


def test_seeds_follow_each_other_and_resampled_noise_alone_is_new_in_every_frame():
    model, _, first = listening_model()
    effort = replace(EFFORT, draws=2)
    for name in (RESAMPLED, WARPED):
        first.clear()
        zero_shot.restored(case(), zero_shot.NOISES[name], model, OPTIONS, effort)
        together = torch.stack(first)
        first.clear()
        for seed in (0, 1):
            one = replace(effort, draws=1)
            zero_shot.restored(case(), zero_shot.NOISES[name], model, replace(OPTIONS, seed=seed), one)
        torch.testing.assert_close(together, torch.stack(first), rtol=0, atol=0)
        # the shift of a frame, (1.37, 0.61), is nearest to one pixel each way: half of white noise is common there
        common = (together[0][:, :-1, :-1] * together[1][:, 1:, 1:]).mean()
        assert (common > 0.3) == (name == WARPED)


def test_measures_are_of_each_seed():
    made = case()
    spoilt = torch.stack([made.truth + 0.1, made.truth + 0.01])
    found = zero_shot.measured(spoilt, made)
    torch.testing.assert_close(found.psnr, torch.tensor([20.0, 40.0]).double(), rtol=0, atol=1e-3)
    true = zero_shot.measured(made.truth[None], made)
    torch.testing.assert_close(found.detail, true.detail.expand(2), rtol=1e-4, atol=0)
    last = made.truth.clone()
    last[-1] *= 2
    found = zero_shot.measured(last[None], made)
    torch.testing.assert_close(found.detail_last, 4 * true.detail_last)
    # two frames of three as they were
    torch.testing.assert_close(3 * found.detail - 4 * true.detail_last, 3 * true.detail - true.detail_last)


def figures(psnr, detail, last):
    """Three seeds around these means, spread alike."""
    spread = torch.tensor([-1.0, 0.0, 1.0]).double()
    return Figures(psnr + 0.3 * spread, detail * (1 + 0.1 * spread), last * (1 + 0.1 * spread))


def test_what_all_ways_share_from_seed_to_seed_is_no_error_of_a_comparison():
    gain, detail, last = zero_shot.against(figures(21.1, 0.0011, 0.0008), figures(21.0, 0.001, 0.001))
    assert (gain.value, detail.value, last.value) == pytest.approx((0.1, 1.1, 0.8))
    assert (gain.error, detail.error, last.error) == pytest.approx((0, 0, 0), abs=1e-12)


GOOD = {
    RESAMPLED: figures(21.0, 0.001, 0.001),
    WARPED: figures(21.1, 0.00105, 0.00095),
    WRONG: figures(14.0, 0.005, 0.005),
}


@pytest.mark.parametrize(
    ("name", "found", "failing"),
    [
        (WARPED, GOOD[WARPED], ()),
        (WARPED, figures(20.75, 0.001, 0.001), (0,)),
        (WARPED, figures(21.25, 0.001, 0.001), (0,)),
        (WARPED, figures(21.0, 0.00085, 0.001), (1,)),
        (WARPED, figures(21.0, 0.00115, 0.001), (1,)),
        (WARPED, figures(21.0, 0.001, 0.0012), (2,)),
        (WRONG, figures(20.5, 0.005, 0.005), (3,)),
        (WRONG, figures(14.0, 0.0015, 0.005), (3,)),
    ],
)
def test_verdicts_hold_each_noise_to_its_bounds(name, found, failing):
    verdicts = zero_shot.verdicts(GOOD | {name: found})
    assert tuple(number for number, (_, met) in enumerate(verdicts) if not met) == failing


def test_the_report_has_a_row_for_every_clip_and_a_verdict_for_every_bound(tmp_path):
    weights = tmp_path / "weights.safetensors"
    embedded.save(tiny_denoiser(), weights, {})
    options = replace(OPTIONS, model=str(weights), out=tmp_path / "out")
    report = zero_shot.compare(options, EFFORT, picture())
    clips = [*zero_shot.NOISES, "true clip"]
    assert [row[:2] for row in report.rows] == [[motion, clip] for motion in zero_shot.MOTIONS for clip in clips]
    content = json.loads(report.json())
    resampled, warped, true = (content["rows"][number] for number in (0, 1, 3))
    assert (true["PSNR, dB"], true["− resampled"], resampled["− resampled"]) == ("inf", None, None)
    assert warped["− resampled"] == pytest.approx(warped["PSNR, dB"] - resampled["PSNR, dB"])
    assert warped["/ resampled"] == pytest.approx(warped["detail"] / resampled["detail"])
    assert sum("met" in note.lower() for note in report.notes) == 4 * len(zero_shot.MOTIONS)
    assert {path.name for path in options.out.iterdir()} == {f"zero-shot-{n}.png" for n in (1, 2, 3)}


def test_the_margin_is_wide_enough_for_every_motion():
    """Every pixel of every frame comes from within the still, and from as far inside as the spline reaches."""
    effort, reach = zero_shot.EFFORT, 12
    large = tuple(length + 2 * MARGIN for length in effort.size)
    safe = torch.zeros(large)
    safe[reach:-reach, reach:-reach] = 1
    cut = (slice(MARGIN, -MARGIN),) * 2
    for make in zero_shot.MOTIONS.values():
        motion = make(effort.frames, large)
        known = replace(motion, visible=motion.visible * safe, known=None)
        assert not newly_exposed(known, effort.frames - 1)[cut].any()
