"""The end-to-end benchmark: what its bounds mean, and a run of a few pixels."""

import json

import pytest
import torch

from warped_diffusion.bench import Options
from warped_diffusion.bench.end_to_end import (
    COLUMNS,
    DEFAULT,
    ORIGINAL,
    UNGUIDED,
    YARDSTICK,
    Effort,
    Figures,
    Run,
    corrector,
    is_slow,
    measured,
    rows,
    shared_verdicts,
    step_verdicts,
    verdicts,
)
from warped_diffusion.errors import UserError
from warped_diffusion.options import PRESETS

EFFORT = Effort(frames=2, steps=20)


def made(seconds):
    return Run(seconds, seconds, torch.zeros(2, 3, 4, 4))


def answers(default, standard, figures):
    best = {DEFAULT: made(default), "standard": made(standard), YARDSTICK: made(100.0)}
    return {name: met for name, _, _, met in verdicts(best, figures, 0.9, EFFORT)}


def test_bounds_are_those_asked():
    alike = dict.fromkeys((DEFAULT, "standard", YARDSTICK, ORIGINAL), Figures(26.0, 1e-3, 5e-4))
    # the floor is 2 frames of 20 steps of 0.9 s, 36 s
    assert all(answers(45.0, 25.0, alike).values())
    slow = answers(47.0, 26.0, alike)
    assert [name for name, met in slow.items() if not met] == [
        "default, time over bare evaluations",
        "default, times as fast as the yardstick",
        "standard, times as fast as the yardstick",
    ]
    worse = alike | {DEFAULT: Figures(25.89, 1.01e-3, 5.6e-4), "standard": Figures(25.91, 0.99e-3, 4.6e-4)}
    found = answers(45.0, 25.0, worse)
    assert {name for name, met in found.items() if not met} == {
        "default, error to first over the yardstick’s",
        "default, PSNR over the yardstick’s, dB",
        "default, high-frequency energy over the yardstick’s",
        "default, high-frequency energy over the original’s",
    }
    assert [met for *_, met in step_verdicts({"none": 1.0, "denoised": 1.19}, 15.1)] == [True, False]


def test_two_processes_are_to_make_the_same_clip_in_less_time():
    two = Run(1.0, 1.0, torch.full((2, 3, 4, 4), 0.01))
    found = shared_verdicts({"cpu": made(1.75), "cpu,cpu": two})
    assert [(value, met) for _, value, _, met in found] == [(1.75, True), (pytest.approx(40.0, abs=0.01), False)]


def test_rows_set_each_way_against_floor_and_yardstick():
    best = {"standard": made(25.0), YARDSTICK: made(100.0)}
    figures = dict.fromkeys(best, Figures(26.0, 1e-3, 5e-4))
    first, second = (dict(zip(COLUMNS, row, strict=True)) for row in rows(best, figures, 0.5, EFFORT))
    steps = PRESETS["standard"].steps
    assert first["time / bare evaluations"] == pytest.approx(25.0 / (steps * 2 * 0.5))
    assert (first["yardstick’s time / this"], second["yardstick’s time / this"]) == (4.0, 1.0)
    assert (first["s per frame"], second["steps"]) == (12.5, 20)


def test_what_is_slow_is_run_once():
    assert [is_slow(name, EFFORT) for name in (YARDSTICK, DEFAULT, UNGUIDED, "draft")] == [True, False, False, False]


def test_a_correction_is_of_two_anchors_on_latents():
    assert corrector(Options())().shape == (4, 128, 128)


@pytest.mark.slow
def test_a_run_of_a_few_pixels():
    effort = Effort(frames=2, rounds=1, evaluations=1, steps=2, cut=(30, 60, 16, 24), presets=("draft",))
    report = measured(Options(repeats=1), effort)
    content = json.loads(report.json())
    assert [row["restored"] for row in content["rows"]] == [DEFAULT, UNGUIDED, "draft", YARDSTICK, "original"]
    assert content["rows"][0]["s per frame"] > 0
    assert {row["met"] for row in content["more"]["Asked"]} <= {"met", "NOT met"}
    assert len(content["more"]["Asked"]) == 10


def test_a_gpu_is_not_measured():
    with pytest.raises(UserError, match="bench sampler"):
        measured(Options(device="meta"), Effort())
