"""The benchmark of real clips: its measures, what it asks and what it writes, on small models."""

import importlib
import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from tests.bench.moving import STEP, moving, written
from tests.models.tiny import tiny_denoiser
from warped_diffusion.bench import BENCHMARKS, Options, RealClip
from warped_diffusion.bench.real_clips import Footage
from warped_diffusion.errors import UserError
from warped_diffusion.models import embedded
from warped_diffusion.video import VideoReader

clips = importlib.import_module("warped_diffusion.bench.clips")  # by its path it is the function
Effort, Figures = clips.Effort, clips.Figures

EFFORT = Effort(frames=4, factors=(4,), steps=2, lanes=2)


@pytest.fixture(scope="module")
def case():
    return clips.Case(Footage("clip", moving(6, still=(3,)), Fraction(25)))


def flicker(amount, count=6):
    signs = torch.randn(count, 3, 48, 64, generator=torch.Generator().manual_seed(0)).sign()
    return amount * signs


def test_it_is_registered():
    assert BENCHMARKS["clips"] is clips.clips


def test_the_original_has_nearly_no_error_and_no_loss(case):
    found = clips.measured(case.footage.frames, case)
    assert found.to_previous < 1e-4  # what flow that is a twentieth of a pixel off leaves of this texture
    assert found.to_first < 1e-3
    assert found.psnr == math.inf


def test_an_offset_is_seen_by_psnr_alone_and_flicker_by_the_warping_errors(case):
    truth = case.footage.frames
    offset, shaky = clips.measured(truth + 0.1, case), clips.measured(truth + flicker(0.1), case)
    assert offset.psnr == pytest.approx(20, abs=1e-3)
    assert offset.exposed == pytest.approx(20, abs=1e-3)
    assert offset.to_previous < 1e-4
    # Two independent patterns of mean square .01, one of them read between pixels by a spline that passes part of it.
    assert 0.012 < shaky.to_previous < 0.021
    assert shaky.detail > 2 * offset.detail


def test_a_repeated_frame_counts_for_no_error_to_the_previous_one(case):
    truth = case.footage.frames
    spoilt = truth.clone()
    spoilt[3:] += 0.1  # from the repeat on: seen between frames 2 and 3 alone
    found, true = clips.measured(spoilt, case), clips.measured(truth, case)
    assert found.to_previous == pytest.approx(true.to_previous, abs=1e-5)
    assert found.to_first > 0.003


def test_newly_exposed_is_what_enters(case):
    shares = case.exposed.double().mean((-2, -1))
    assert shares[0] == 0
    entered = 1 - (1 - 4 * STEP[0] / 64) * (1 - 4 * STEP[1] / 48)  # four steps: one of the five frames is a repeat
    assert shares[-1] == pytest.approx(entered, abs=0.08)  # and a rim that is drawn in


GOOD = {
    "bicubic": Figures(0.001, 0.001, 24.0, 0.0002, 20.0),
    "resampled": Figures(0.010, 0.010, 22.0, 0.0010, 19.0, 1.0),
    "unguided": Figures(0.006, 0.008, 22.0, 0.0010, 19.0, 1.0),
    "default": Figures(0.0045, 0.004, 21.9, 0.0011, 19.0, 1.2),
}


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({}, set()),
        ({"to_previous": 0.0055}, {0, 1}),
        ({"to_previous": 0.0049}, {1}),
        ({"psnr": 21.75}, {2}),
        ({"psnr": 21.81}, set()),
        ({"detail": 0.0013}, {3}),
        ({"detail": 0.0007}, {3}),
    ],
)
def test_the_default_is_held_to_each_bound(change, failing):
    figures = GOOD | {"default": replace(GOOD["default"], **change)}
    found = {None: {"original": GOOD["bicubic"]}, 8: figures}
    table = clips.bound_rows("street", found)
    assert [row[:2] for row in table] == [["street", "8×"]] * 4
    assert [row[-1] for row in table] == ["NO" if number in failing else "yes" for number in range(4)]


def test_the_report_and_the_clips_that_it_leaves(tmp_path):
    weights = tmp_path / "weights.safetensors"
    embedded.save(tiny_denoiser(), weights, {})
    path = written(tmp_path / "street.mp4", moving(8), rate=10)
    options = Options(model=str(weights), clip=(RealClip(path, 2),), out=tmp_path / "out", frames=3)
    report = clips.compare(options, EFFORT)
    labels = ["bicubic", *clips.WAYS]
    assert [row[:3] for row in report.rows] == [
        ["street.mp4@2:", None, "original"],
        *(["street.mp4@2:", "4×", label] for label in labels),
    ]
    assert [row[-1] is None for row in report.rows] == [True, True, False, False, False]
    assert len({row[3] for row in report.rows}) == len(report.rows)  # no two ways are one
    assert len(report.more["Asked of the default"].rows) == 4
    assert str(tmp_path) not in report.json()
    written_clips = {file.name for file in options.out.iterdir()}
    assert written_clips == {
        "street-2-end-original.mp4",
        "street-2-end-4.png",
        *(f"street-2-end-4-{label}.mp4" for label in labels),
    }
    with VideoReader(options.out / "street-2-end-4-default.mp4") as reader:
        assert (len(list(reader)), reader.frame_rate) == (3, 10)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make the folder"):
        clips.write(tmp_path / "file" / "below" / "clip.mp4", moving(2), Fraction(25))
