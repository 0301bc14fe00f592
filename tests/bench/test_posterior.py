"""The judge of the embedded model, on a model whose posterior is known: white noise about the bicubic picture."""

import dataclasses
import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.models.tiny import tiny_denoiser
from warped_diffusion.bench import Options
from warped_diffusion.bench.harness import BENCHMARKS
from warped_diffusion.bench.posterior import (
    MEASURES,
    Effort,
    Figure,
    Outcome,
    asked,
    draw,
    held_out,
    judge,
    ratio,
    rows,
    run_case,
    summary,
)
from warped_diffusion.diffusion import karras_sigmas
from warped_diffusion.errors import UserError
from warped_diffusion.metrics import high_frequency_energy
from warped_diffusion.models import Model, embedded
from warped_diffusion.noise import get_spectrum
from warped_diffusion.noise.lattice import amplitude
from warped_diffusion.tasks import area_average, enlarge

EFFORT = Effort(side=48, steps=50, draws=8, drawn=4, shown=2, lanes=3)
S = 0.15  # deviation of the known posterior, model units
SIGMA_MIN, SIGMA_MAX = S / 40, S * 15


def pack(folder, sizes, split="held-out"):
    generator, entries, offset = np.random.default_rng(0), [], 0
    with open(folder / "pictures.bin", "wb") as file:
        for number, (height, width) in enumerate(sizes):
            file.write(generator.integers(0, 256, (height, width, 3), np.uint8).tobytes())
            size = [height, width]
            entries.append({"name": f"{number}", "source": "made", "offset": offset, "size": size, "split": split})
            offset += height * width * 3
    (folder / "pictures.json").write_text(json.dumps(entries))


def known_model():
    """h = c + c_skip (u - c): exact where pictures are the bicubic enlargement c plus white noise of deviation S."""

    def denoiser(noisy, sigma, condition):
        skip = (S**2 / (S**2 + sigma**2))[:, None, None, None]
        return condition["picture"] + skip * (noisy - condition["picture"])

    return Model(denoiser, ("white",), lambda _: (SIGMA_MIN, SIGMA_MAX), lambda condition: condition["picture"])


def sample_deviation():
    """What the solver's steps leave of the noise: the flow is linear, so one number follows it."""
    value, last = SIGMA_MAX, None
    for s, s_next in pairwise(karras_sigmas(EFFORT.steps, SIGMA_MIN, SIGMA_MAX).tolist()):
        h = S**2 / (S**2 + s**2) * value
        ahead = h
        if last is not None and s_next > 0:  # to the middle of the step in log s
            ahead = h + (h - last[0]) * math.log(s / s_next) / math.log(last[1] / s) / 2
        value, last = ahead + s_next / s * (value - ahead), (h, s)
    return value


def test_a_known_posterior_is_judged_as_the_arithmetic_says():
    """Truths whose residual has deviation S: a sample loses 3 dB to its mean, a mean of 8 loses .5 dB."""
    generator, scale = torch.Generator().manual_seed(0), 4
    detail = torch.randn(8, 3, 48, 48, generator=generator)
    gone = detail - enlarge(area_average(detail, scale), (48, 48))
    truth = 0.5 + detail * (S / 2 / gone.std())  # far from 0 and 1, where outputs are clipped
    outcome = run_case(known_model(), truth, scale, "white", EFFORT, Options(seed=1), lambda _: None)
    figures = summary(truth, outcome, scale)
    names = list(figures)

    def loss(variance):
        return -10 * math.log10(1 + variance / S**2)

    left = loss((S**2 / (S**2 + SIGMA_MAX**2) * SIGMA_MAX) ** 2)  # of the noise in the estimate at the highest level
    sampled = sample_deviation()
    assert sampled == pytest.approx(S, rel=5e-3)  # the solver neither shrinks nor spreads the noise
    tolerance = 0.05  # dB; means over 50 000 values, with their cross terms
    assert figures[names[2]].value == pytest.approx(left, abs=tolerance)
    assert figures[names[3]].value == pytest.approx(loss(sampled**2) - left, abs=tolerance)
    assert figures[names[3]].value == pytest.approx(-3.0, abs=tolerance)
    assert figures[names[4]].value == pytest.approx(loss(sampled**2 / EFFORT.draws) - left, abs=tolerance)
    # White noise of variance v has high-frequency energy 5 v / 4, and averages out over a block.
    smooth, true = (high_frequency_energy(x).mean().item() for x in (outcome.bicubic, truth))
    expected = (smooth + 5 / 4 * (sampled / 2) ** 2) / true
    assert figures[names[5]].value == pytest.approx(expected, rel=0.03)
    assert figures[names[6]].value == pytest.approx(expected, rel=0.03)
    assert figures[names[8]].value == pytest.approx(sampled / 2 / scale, rel=0.15)


def test_draws_are_keyed_by_the_seed_and_do_not_depend_on_the_batch():
    truth = torch.rand(4, 3, 48, 48, generator=torch.Generator().manual_seed(0))

    def outcome(seed, lanes):
        effort = Effort(side=48, steps=3, draws=2, drawn=2, lanes=lanes)
        return run_case(known_model(), truth, 8, "white", effort, Options(seed=seed), lambda _: None)

    first, wide, other = outcome(0, 1), outcome(0, 4), outcome(1, 1)
    torch.testing.assert_close(first.sample, wide.sample)
    torch.testing.assert_close(first.mean, wide.mean)
    assert not torch.equal(first.sample, other.sample)
    assert not torch.equal(first.mean, first.sample[first.drawn])
    single = run_case(
        known_model(), truth, 8, "white", Effort(side=48, steps=3, draws=1, drawn=2), Options(), lambda _: None
    )
    assert single.drawn == [1, 3]
    assert torch.equal(single.mean, single.sample[[1, 3]])


def test_every_figure_compares_what_it_says():
    """Outputs that are wrong by a constant: their PSNR is -20 log10 of it."""
    truth = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) / 2
    outcome = Outcome(truth + 0.1, truth + 0.05, truth + 0.08, (truth + 0.06)[1:], [1, 2])
    values = [figure.value for figure in summary(truth, outcome, 4).values()]
    bicubic, one_step, sample, mean = (-20 * math.log10(offset) for offset in (0.1, 0.05, 0.08, 0.06))
    differences = [one_step - bicubic, sample - one_step, mean - one_step]
    assert values == pytest.approx([bicubic, one_step, *differences, 1, 1, 1, 0.08], rel=1e-5)


def test_the_state_starts_where_the_model_says():
    def leave_it(noisy, sigma, condition):
        return noisy

    model = Model(leave_it, ("white",), lambda _: (1e-4, 1e-3), lambda condition: condition["picture"] * 0 + 0.2)
    outcome = run_case(model, torch.rand(1, 3, 48, 48), 4, "white", EFFORT, Options(), lambda _: None)
    torch.testing.assert_close(outcome.one_step, torch.full((1, 3, 48, 48), 0.6), rtol=0, atol=3e-3)


def test_a_run_counts_its_evaluations(tmp_path):
    effort, done = Effort(side=48, steps=3, draws=4, drawn=2, lanes=2), []
    truth = torch.rand(3, 3, 48, 48)
    run_case(known_model(), truth, 8, "white", effort, Options(), done.append)
    assert sum(done) == effort.evaluations(3) == 3 * (1 + 3) + 2 * 3 * 3


def test_the_table_says_what_was_asked_and_whether_it_was_met():
    names = list(MEASURES)
    good = {
        name: Figure(value, 0.1) for name, value in zip(names, (24, 25, 0.8, -3, -0.3, 1, 1, 0.5, 0.01), strict=True)
    }
    table = rows(
        {(8, "white"): good, (8, "squared-exponential"): good | {names[3]: Figure(-5.0, 0.1)}}, embedded.SPECTRA
    )
    assert [row[-1] for row in table] == [None, None, "yes", "NO", "yes", "yes", "yes", None, "yes"]
    assert table[2] == ["8×", names[2], 0.8, 0.1, 0.8, 0.1, "at least 0.7", "yes"]
    assert rows({(4, "white"): good}, ("white",))[2][-2:] == ["at least 1", "NO"]
    assert asked(-4, -2) == "−4 to −2"


def test_a_few_pictures_are_taken_from_all_over_the_list():
    assert Effort().chosen(22, 6) == [1, 5, 9, 12, 16, 20]
    assert Effort().chosen(6, 3) == [1, 3, 5]
    assert Effort().chosen(4, 9) == [0, 1, 2, 3]


def test_the_error_of_a_ratio_is_that_of_its_repetitions():
    generator = torch.Generator().manual_seed(0)
    lower = 1 + torch.rand(2000, 40, generator=generator, dtype=torch.float64)
    upper = lower * (1 + 0.3 * torch.rand(2000, 40, generator=generator, dtype=torch.float64))
    figures = [ratio(a, b) for a, b in zip(upper, lower, strict=True)]
    spread = torch.tensor([figure.value for figure in figures]).std().item()
    assert np.mean([figure.error for figure in figures]) == pytest.approx(spread, rel=0.1)


def test_held_out_pictures_are_reduced_and_cut_from_the_middle(tmp_path):
    sizes = ((96, 1024), (30, 200), (600, 1040))  # too narrow to be halved, too small, halved
    pack(tmp_path, sizes)
    data = np.fromfile(tmp_path / "pictures.bin", np.uint8)
    names, pictures = held_out(tmp_path, Effort(side=96))
    assert names == ["0", "2"]
    assert pictures.shape == (2, 3, 96, 96)
    first = torch.from_numpy(data[: 96 * 1024 * 3].reshape(96, 1024, 3)).permute(2, 0, 1) / 255
    torch.testing.assert_close(pictures[0], first[:, :, 464:560])
    last = torch.from_numpy(data[-600 * 1040 * 3 :].reshape(600, 1040, 3)).permute(2, 0, 1) / 255
    block = last[:, 252 : 252 + 2, 424 : 424 + 2].mean((1, 2))  # (300 - 96) / 2 = 102, (520 - 96) / 2 = 212
    torch.testing.assert_close(pictures[1, :, 24, 0], block)


def test_a_folder_without_held_out_pictures_is_one_sentence(tmp_path):
    pack(tmp_path, ((64, 64),), "train")
    with pytest.raises(UserError, match="holds no picture of the split 'held-out'"):
        held_out(tmp_path, EFFORT)
    with pytest.raises(UserError, match="no packed pictures in"):
        held_out(tmp_path / "elsewhere", EFFORT)


def test_without_pictures_it_asks_for_them():
    with pytest.raises(UserError, match="give --pictures, the folder of packed pictures"):
        BENCHMARKS["posterior"](Options())


def test_the_whole_benchmark_on_a_tiny_network(tmp_path):
    pack(tmp_path, ((48, 48), (48, 64)))
    embedded.save(tiny_denoiser(), tmp_path / "w.safetensors", {})
    options = Options(out=tmp_path / "out", pictures=tmp_path, model=str(tmp_path / "w.safetensors"))
    report = judge(options, Effort(side=48, steps=2, draws=2, drawn=2, shown=1, lanes=4))
    assert len(report.rows) == 2 * 9
    assert all(math.isfinite(value) for row in report.rows for value in row[2:6])
    assert "| 8×" in report.markdown()
    picture = (tmp_path / "out" / "posterior.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    with pytest.raises(UserError, match="knows noise of spectrum white, squared-exponential, not 'pink'"):
        judge(dataclasses.replace(options, spectrum="pink"), EFFORT)


def test_a_picture_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    truth = torch.rand(1, 3, 48, 48)
    effort = Effort(side=48, steps=1, draws=1, drawn=1, shown=1)
    outcome = run_case(known_model(), truth, 8, "white", effort, Options(), lambda _: None)
    with pytest.raises(UserError, match="cannot write"):
        draw(tmp_path / "file" / "posterior.png", truth, {(8, "white"): outcome}, "white", effort)


def test_noise_of_any_spectrum_may_come_of_the_same_white_values():
    """The known model is linear, so a sample's deviation is its noise's: filtered white noise correlates with itself.

    By the mean of the filter's amplitudes over their root mean square, 1 by the field's unit variance.
    """
    spectra, side = ("white", "squared-exponential"), 48
    model = dataclasses.replace(known_model(), spectra=spectra)
    truth, effort = torch.full((4, 3, side, side), 0.5), dataclasses.replace(EFFORT, draws=1, steps=10)

    def deviation(spectrum, stream):
        outcome = run_case(model, truth, 4, spectrum, effort, Options(), lambda _: None, stream)
        return (outcome.sample - 0.5).flatten()

    white, same, own = (deviation(*case) for case in ((spectra[0], 0), (spectra[1], 0), (spectra[1], None)))
    expected = amplitude(get_spectrum(spectra[1]), (side, side)).mean().item()
    within = 0.03  # five standard errors: 27 648 values, of neighbours that go together in one of the two
    assert torch.corrcoef(torch.stack([white, same]))[0, 1].item() == pytest.approx(expected, abs=within)
    assert torch.corrcoef(torch.stack([white, own]))[0, 1].item() == pytest.approx(0, abs=within)
