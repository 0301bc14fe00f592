"""The benchmark of flow: errors against motion that is known, what it asks, and what the report holds."""

import importlib
from fractions import Fraction

import pytest
import torch

from tests.bench.moving import STEP, moving, texture, written
from warped_diffusion.bench import BENCHMARKS, Options, RealClip
from warped_diffusion.bench.real_clips import Footage
from warped_diffusion.errors import UserError
from warped_diffusion.evaluate.moved import MARGIN
from warped_diffusion.flow import identity_map

flow = importlib.import_module("warped_diffusion.bench.flow")  # by its path it is the function
Effort, Figures, Found = flow.Effort, flow.Figures, flow.Found
BASELINE, JUDGE, OTHERS = flow.BASELINE, flow.JUDGE, ("fine", "dis")

EFFORT = Effort(factors=(4,), still_frames=3, still_size=(48, 64))
SETTLED = 0.15
"""Pixels by which DIS on the original may miss a whole-pixel step, on average over what it takes for visible."""


def picture():
    return texture(48 + 2 * MARGIN, 64 + 2 * MARGIN)


def footage(**options):
    return Footage("clip", moving(**options), Fraction(25))


def shifted(by):
    """A guess: everything moves by so much, whatever it is shown."""

    def guess(earlier, later, size):
        step = torch.tensor(by, dtype=torch.float32)
        return identity_map(*size) + step, identity_map(*size) - step

    return guess


def test_it_is_registered():
    assert BENCHMARKS["flow"] is flow.flow


def test_errors_are_distances_from_the_exact_motion():
    pairs = flow.known_pairs("shift", picture(), EFFORT)
    assert len(pairs) == 1  # of two, every second
    right, off = flow.measured(pairs, 4, shifted((0.37, 0.21))), flow.measured(pairs, 4, shifted((3.37, 4.21)))
    assert right.error["exact"] == pytest.approx(0, abs=1e-5)
    assert off.error["exact"] == pytest.approx(5, abs=1e-5)
    assert (right.astray["exact"], off.astray["exact"]) == (0, 1)
    assert flow.distance(pairs) == pytest.approx((0.37**2 + 0.21**2) ** 0.5, abs=1e-5)


def test_places_that_leave_the_frame_do_not_count():
    truth = flow.Truth(*shifted(STEP)(None, None, (48, 64)), torch.zeros(48, 64), torch.zeros(48, 64))
    truth.visible[:, :32] = 1
    wrong = shifted(STEP)(None, None, (48, 64))
    wrong[0][:, 32:] += 9
    found = flow.errors(wrong, truth)
    assert found.shape == (48 * 32,)
    assert found.max() == 0


@pytest.mark.parametrize("name", flow.KNOWN)
def test_the_still_moves_as_the_exact_maps_say(name):
    (pair,) = flow.known_pairs(name, picture(), EFFORT)
    found = flow.measured([pair], 1, flow.original(flow.REFERENCES[JUDGE]))
    assert found.error["exact"] < SETTLED < flow.distance([pair])


def test_on_a_known_translation_all_references_are_near_the_truth():
    pairs = flow.real_pairs(footage(), EFFORT)
    assert len(pairs) == 4
    found = flow.measured(pairs, 4, shifted(STEP))
    assert found.error.keys() == flow.REFERENCES.keys()
    assert all(error < SETTLED for error in found.error.values())
    assert flow.distance(pairs) == pytest.approx(5**0.5, abs=SETTLED)


def test_pairs_that_repeat_a_frame_are_left_out_before_they_are_thinned():
    clip = footage(still=(1, 3, 5, 7))  # every other frame: all that would be kept, were it the other way round
    pairs = flow.real_pairs(clip, EFFORT)
    assert len(pairs) == 2
    assert all(not torch.equal(pair.earlier, pair.later) for pair in pairs)


@pytest.mark.parametrize(("gpu", "names"), [(True, ["dis", "raft-small"]), (False, ["dis"])])
def test_raft_takes_part_where_there_is_a_gpu_and_its_weights(monkeypatch, gpu, names):
    def load(size, device):
        if size == "large":
            raise UserError("its weights are not to be had")
        return torch.nn.Identity()

    monkeypatch.setattr(flow, "ESTIMATORS", {"dis": None, "raft": None, "raft-small": None})
    monkeypatch.setattr(flow, "load_network", load)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert flow.ready() == names


def clips(*ratios, others=0.5):
    """Found of as many clips: an estimator with these shares of the baseline's error by who judges, and by the rest."""

    def figures(error, other, astray):
        return Figures({JUDGE: error} | dict.fromkeys(OTHERS, other), dict.fromkeys(flow.REFERENCES, astray), 1.0)

    base = figures(2.0, 2.0, 0.5)
    of = [figures(2 * ratio, 2 * others, 0.1) for ratio in ratios]
    return {str(i): Found({4: {BASELINE: base, "new": new}}, 3.0) for i, new in enumerate(of)}


@pytest.mark.parametrize(
    ("ratios", "few", "met"),
    [
        ((0.5, 0.75, 0.99), "2 of 3", "yes"),
        ((0.5, 0.76, 0.99), "1 of 3", "NO"),
        ((0.5, 0.5, 1.01), "2 of 3", "NO"),
        ((0.75,), "1 of 1", "yes"),
        ((0.5, 0.9), "1 of 2", "NO"),
        ((0.5, float("nan"), 0.5), "2 of 3", "NO"),
    ],
)
def test_two_of_three_clips_must_gain_and_none_may_lose(ratios, few, met):
    judge, *rest = flow.asked(clips(*ratios))
    assert (judge[:4], judge[-2:]) == (["new", "4×", JUDGE, few], ["yes", met])
    assert [(row[2], *row[-2:]) for row in rest] == [(name, "shown", "yes") for name in OTHERS]


def test_the_table_shows_all_references_and_their_ratios_to_the_baseline():
    _, row = flow.rows(clips(0.6))
    assert dict(zip(flow.COLUMNS, row, strict=True)) == {
        "clip": "0",
        "factor": "4×",
        "estimator": "new",
        "error against refined, px": 1.2,
        "refined, this / baseline": 0.6,
        "error against fine, px": 1.0,
        "fine, this / baseline": 0.5,
        "error against dis, px": 1.0,
        "dis, this / baseline": 0.5,
        "share off by more than 1 px": 0.1,
        "mean motion, px": 3.0,
        "ms per pair": 1.0,
    }


def test_the_report_has_a_row_for_every_clip_factor_and_estimator(tmp_path, monkeypatch):
    monkeypatch.setattr(flow, "ESTIMATORS", {"dis": flow.ESTIMATORS["dis"], "raft": None})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = written(tmp_path / "street.mp4", moving(8))
    effort = Effort(factors=(4, 8), still_frames=2, still_size=(48, 64))
    report = flow.compare(Options(clip=(RealClip(path, 0, 6),)), effort, picture())
    labels = [BASELINE, "dis"]
    assert [row[:3] for row in report.rows] == [
        ["street.mp4@0:6", f"{factor}×", label] for factor in (4, 8) for label in labels
    ]
    known = report.more["A still under known motion"].objects()
    assert len(known) == len(flow.KNOWN) * (len(flow.REFERENCES) + 2 * 2)
    assert all((row["this / baseline"] is None) == (row["factor"] == "1×") for row in known)
    assert [row["estimator"] for row in report.more["Asked on real clips"].objects()] == ["dis"] * 2 * len(
        flow.REFERENCES
    )
    assert str(tmp_path) not in report.json()
    assert any(note.startswith("left out: raft") for note in report.notes)
