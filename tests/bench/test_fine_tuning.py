"""The paper's first table in miniature: that it runs at no effort, and what its verdicts say; all of it is slow."""

import pytest
import torch

from tests.training.packed import pack
from warped_diffusion.bench import Options
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
    measured,
    verdicts,
)
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


HARD, EASY = (-4.0, 1.5), (4.0, 0.5)
"""Pictures: how much easier than the mean one they are, dB, and how much detail they have of its."""


def measurements(**networks):
    """PSNR of one step and of samples, and detail, of the three networks, on a hard picture and an easy one."""
    return {
        name: {
            ONE_STEP: torch.tensor([one_step + offset for offset, _ in (HARD, EASY)]),
            SAMPLED: torch.tensor([sampled + offset for offset, _ in (HARD, EASY)]),
            DETAIL: torch.tensor([detail * factor for _, factor in (HARD, EASY)]),
        }
        for name, (one_step, sampled, detail) in zip((TWIN, TUNED, BEFORE), networks.values(), strict=True)
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
    found = verdicts(measurements(twin=(24.0, 22.1, 0.8), tuned=tuned, before=before))
    assert [holds for _, holds in found] == met


def test_errors_are_those_of_differences_on_the_same_picture():
    found = measurements(twin=(24.0, 22.0, 0.8), tuned=(24.1, 21.9, 0.76), before=(24.0, 18.0, 2.0))
    lines = [line for line, _ in verdicts(found)]
    assert "+0.10 ± 0.00" in lines[0]
    assert "-0.10 ± 0.00" in lines[1]
    assert "0.950 ± 0.000" in lines[2]
    found[TUNED][SAMPLED] += torch.tensor([0.1, -0.1])  # standard deviation 0.1 √2, of the mean of two 0.1
    assert "-0.10 ± 0.10" in verdicts(found)[1][0]


def test_cases_are_compared_under_the_same_noise(tmp_path):
    """An untrained network does not heed what it is told, so what it is told changes nothing but by other noise."""
    embedded.save(EmbeddedDenoiser(dict(TINY.network)), tmp_path / "w.safetensors", {})
    truth = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    one, other = (
        measured(Case(tmp_path / "w.safetensors", WHITE, told), truth, TINY, Options()) for told in (WHITE, CORRELATED)
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_network_may_be_told_of_another_noise_than_it_gets(tmp_path):
    embedded.save(EmbeddedDenoiser(dict(TINY.network)), tmp_path / "w.safetensors", {})
    lied_to = Case(tmp_path / "w.safetensors", CORRELATED, WHITE).model("cpu")
    assert lied_to.spectra.index(CORRELATED) == embedded.SPECTRA.index(WHITE)
    honest = Case(tmp_path / "w.safetensors", CORRELATED, CORRELATED).model("cpu")
    assert honest.spectra.index(CORRELATED) == embedded.SPECTRA.index(CORRELATED)


@pytest.mark.slow
def test_a_network_that_knew_white_noise_loses_nothing_by_fine_tuning():
    """The paper's claim at the benchmark's own effort, on the shipped clip; up to half an hour."""
    report = compare(Options(), Effort())
    print(report.markdown())
    said = [note for note in report.notes if note.endswith(("met", "NOT MET"))]
    assert len(said) == 4
    assert not [note for note in said if note.endswith("NOT MET")]
