"""The benchmark of noise: its motions, its measures and its verdicts, on small frames; no figure of any scheme."""

import importlib
import json
import math
from dataclasses import replace

import pytest
import torch

from warped_diffusion.bench import BENCHMARKS, Options, warps
from warped_diffusion.errors import UserError
from warped_diffusion.flow import MOTIONS, known_motion
from warped_diffusion.noise import SCHEMES, GaussianField, get_spectrum
from warped_diffusion.noise.random_features import FEATURES

bench = importlib.import_module("warped_diffusion.bench.noise")  # by its path it is the function
Effort, Figures, PLAIN = bench.Effort, bench.Figures, bench.PLAIN
EFFORT = Effort(frames=3, size=(48, 56), enlarged=1, draws=2, tile=16, sides=(16, 24))
WHITE, COLOURED = get_spectrum("white"), get_spectrum("squared-exponential")
PERFECT = Figures(
    variance=1.0,
    correlation=0.0,
    ks=0.0,
    flatness=1.0,
    distance=0.0,
    worst_flatness=1.0,
    worst_variance=1.0,
    to_previous=0.8,
    to_first=0.8,
)


class Recorder:
    """A scheme whose noise is its frame's number; it writes down what it was asked."""

    def __init__(self):
        self.asked = []

    def frame(self, index, positions, backward=None):
        self.asked.append((index, backward is not None))
        return torch.full((1, *positions.shape[:2]), float(index))


@pytest.fixture
def small(monkeypatch):
    """Two schemes and two motions, so that the whole table is quick."""
    monkeypatch.setattr(bench, "SCHEMES", {name: SCHEMES[name] for name in ("resample", "gp")})
    monkeypatch.setattr(bench, "MOTIONS", {name: MOTIONS[name] for name in ("shift", "zoom-in", "integer-shift")})


def test_it_is_registered():
    assert BENCHMARKS["noise"] is bench.noise


def test_a_course_asks_for_frames_in_order_and_leaves_out_what_nobody_needs():
    course = bench.analytic("shift", replace(EFFORT, frames=6))
    every, some = Recorder(), Recorder()
    for scheme, wanted in ((every, True), (some, False)):
        assert [float(frame.mean()) for frame in course.run(scheme, wanted)] == [0, 4, 5]
    assert every.asked == [(j, j > 0) for j in range(6)]
    assert some.asked == [(0, False), (4, True), (5, True)]
    short = bench.analytic("shift", replace(EFFORT, frames=2))
    assert [float(frame.mean()) for frame in short.run(Recorder(), False)] == [0, 0, 1]


def test_a_followed_motion_is_the_analytic_one_where_it_was_in_sight():
    motion = known_motion("shift", 4, (48, 56))
    course, exact = bench.followed(motion.motion), bench.analytic("shift", Effort(frames=4, size=(48, 56)))
    torch.testing.assert_close(course.positions, exact.positions, rtol=0, atol=1e-4)
    torch.testing.assert_close(course.backward, exact.backward, rtol=0, atol=0)
    assert torch.equal(course.seen[8:, 8:], torch.ones(40, 48).double())
    assert course.seen[:, 0].sum() == 0  # entered since


def test_a_field_along_a_shift_is_measured_as_what_it_is():
    effort = replace(EFFORT, size=(96, 112), draws=3)
    course = bench.analytic("shift", effort)
    for spectrum in (WHITE, COLOURED):
        found, error = bench.repeated(PLAIN, course, spectrum, 0, effort)
        assert found.variance == pytest.approx(1, abs=0.02)  # √(2 / 129 000) = 0.004, twice that where correlated
        assert found.correlation == pytest.approx(0, abs=0.01)  # 1/√258 000 = 0.002
        assert found.flatness == pytest.approx(1, abs=0.01)  # 0.0025/√3
        assert found.distance == pytest.approx(0, abs=0.01)  # the same
        assert found.to_first > 0.99  # but for the edges, 1
        assert found.to_previous > 0.99
        assert 0 < error.variance < 0.01
        assert found.right
    found, _ = bench.repeated("resample", course, WHITE, 0, effort)
    assert found.right
    assert abs(found.to_first) < 0.02  # 1/√(4 · 64 · 80 · 3) = 0.004


def test_a_stretched_field_is_told_from_noise():
    effort = replace(EFFORT, draws=1)
    found, error = bench.repeated(PLAIN, bench.analytic("zoom-in", effort), WHITE, 0, effort)
    assert found.correlation == pytest.approx(math.sin(math.pi / 1.6) / (math.pi / 1.6), abs=0.03)  # sinc(1/1.6)
    assert not found.right
    assert found.distance > 1  # three fifths of the frequencies hold next to nothing
    assert math.isnan(error.variance)


def test_the_worst_tile_is_found():
    course = bench.analytic("shift", EFFORT)
    frame = GaussianField(4, (48, 56)).grid()
    spoilt = frame.clone()
    spoilt[:, 16:32, 20:36] = 0.5 * torch.nn.functional.avg_pool2d(frame[:, 16:32, 20:36], 3, 1, 1)
    clean, found = (bench.measured((frame, frame, last), course, WHITE, 16) for last in (frame, spoilt))
    assert found.worst_flatness < 0.5 < clean.worst_flatness
    assert found.worst_variance < 0.1
    assert abs(clean.worst_variance - 1) < 0.3


def test_target_correlations():
    assert bench.target_correlation(WHITE) == pytest.approx(0, abs=1e-12)
    assert bench.target_correlation(COLOURED) == pytest.approx(0.341, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "right"),
    [
        ({}, True),
        ({"variance": 1.021}, False),
        ({"variance": 0.979}, False),
        ({"correlation": -0.021}, False),
        ({"flatness": 0.969}, False),
        ({"worst_flatness": 0.949}, False),
        ({"to_first": 0.0}, True),
    ],
)
def test_right_noise_is_what_the_bounds_say(change, right):
    assert replace(PERFECT, **change).right == right


def test_verdicts():
    def said(motion, best, **others):
        return [met for _, met in bench.verdicts(motion, {"gp": PERFECT} | others, (0.9, best))]

    assert said("shift", 0.81) == [True, True]
    assert said("shift", 0.9) == [True, False]
    assert said("rotation", 0.9) == [True, True]
    assert said("zoom-in", 1.0) == [True, False]
    assert said("swirl", 1.0) == [True]  # no bound of its own
    better, tied = replace(PERFECT, to_first=0.81), replace(PERFECT, to_first=0.804)
    assert said("swirl", 1.0, other=tied) == [True, True]
    assert said("swirl", 1.0, other=better) == [True, False]
    assert said("swirl", 1.0, other=replace(better, flatness=0.5)) == [True]  # not noise any more, so no rival
    assert said("swirl", 1.0, other=replace(PERFECT, to_first=0.7)) == [True, True]


def test_rows_carry_coherences_beside_the_best_possible():
    (row,) = bench.rows(WHITE, "shift", {"gp": PERFECT}, (0.9, 0.5))
    cells = dict(zip(bench.COLUMNS, row, strict=True))
    assert cells["ratio, previous"] == pytest.approx(0.8 / 0.9)
    assert cells["ratio, first"] == pytest.approx(1.6)
    assert cells["best possible, first"] == 0.5


def test_the_largest_standard_error_is_told():
    errors = [replace(PERFECT, ks=0.001), replace(PERFECT, ks=0.025, variance=0.5)]
    assert "1 (variance)" in bench.largest_error(errors)
    assert "0.025 (ks)" in bench.largest_error(errors)


def test_whole_pixels_agree_or_the_note_says_that_they_do_not(monkeypatch):
    assert bench.agreement_on_whole_pixels(WHITE, 0, EFFORT).endswith(": met")
    monkeypatch.setattr(bench, "AGREEING", ("nearest", "resample"))
    assert bench.agreement_on_whole_pixels(WHITE, 0, EFFORT).endswith("NOT MET")


def test_the_report_has_both_tables(small, tmp_path):
    report = bench.compare(Options(repeats=1, warmup=0, batch=2, spectrum="white"), EFFORT)
    rows = [dict(zip(report.columns, row, strict=True)) for row in report.rows]
    assert [row["motion"] for row in rows] == ["shift"] * 3 + ["zoom-in"] * 3 + ["real clip"] * 3
    assert [row["scheme"] for row in rows[:3]] == ["resample", "gp", PLAIN]
    assert all(math.isfinite(row["coherence, first"]) for row in rows)
    assert rows[3]["best possible, first"] == pytest.approx(1 / 1.6, abs=2e-3)
    (timing,) = report.more.values()
    assert [row[:2] for row in timing.rows] == [["16×16", 1], ["24×24", 1], ["16×16", 2]]
    assert all(cell > 0 for row in timing.rows[:2] for cell in row[1:])
    report.write(tmp_path)
    content = json.loads((tmp_path / "noise.json").read_text())
    assert len(content["more"]["Milliseconds per warp"]) == 3
    assert "Milliseconds per warp" in (tmp_path / "noise.md").read_text()
    assert sum("gp, white" in note for note in content["notes"]) >= 6


def test_both_spectra_unless_one_is_named(monkeypatch):
    seen = []
    monkeypatch.setattr(bench, "courses", lambda effort: {"shift": bench.analytic("shift", effort)})
    monkeypatch.setattr(bench, "repeated", lambda scheme, *rest: seen.append(rest[1].name) or (PERFECT, PERFECT))
    monkeypatch.setattr(bench, "agreement_on_whole_pixels", lambda *_: "")
    monkeypatch.setattr(bench, "timings", lambda *_: (warps.Table(("a",), []), []))
    for asked in (None, "all"):
        seen.clear()
        bench.compare(Options(spectrum=asked), EFFORT)
        assert set(seen) == {"white", "squared-exponential"}
    with pytest.raises(UserError, match="white"):
        bench.compare(Options(spectrum="pink"), EFFORT)


@pytest.mark.parametrize(("spent", "verdict"), [(39.9, "met"), (40.1, "NOT MET")])
def test_the_time_of_a_latent_warp_is_judged(monkeypatch, spent, verdict):
    monkeypatch.setattr(warps, "timed_alone", lambda *_: [spent, 1.0, 1.0, 1.0, 30.0, 30.0])
    monkeypatch.setattr(warps, "timed_batch", lambda *_: [1.0, 1.0, 1.0, None, None, None])
    monkeypatch.setattr(warps, "error", lambda *_: 1e-7)
    _, said = warps.timings(Options(), 4, (128,))
    assert said[-1].endswith(f": {verdict}")
    assert "30.0 times as long" in said[-2]


def test_the_transform_is_the_sum():
    assert warps.error(24, Options(), 4) < 1e-5
    assert len(warps.features_of(24, Options(), 4).phases) == FEATURES
