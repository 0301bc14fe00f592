"""The benchmark of filled holes: its clips, its measures and its verdicts, on small models; no figure of the method."""

import functools
import importlib
import json
import math
from dataclasses import replace

import pytest
import torch

from tests.models.tiny import tiny_denoiser
from warped_diffusion.bench import BENCHMARKS, Options
from warped_diffusion.errors import UserError
from warped_diffusion.evaluate.moved import MARGIN
from warped_diffusion.models import Model, embedded
from warped_diffusion.tasks import degrade

inpainting = importlib.import_module("warped_diffusion.bench.inpainting")  # by its path it is the function
Effort, Figures = inpainting.Effort, inpainting.Figures
DEFAULT, UNGUIDED, WARP_ONLY, TRUE = inpainting.DEFAULT, inpainting.UNGUIDED, ("", "warp only"), ("", "true clip")
WARM_UP, SHIFT, TURN, ZOOM = inpainting.MOTIONS

SIZE = (32, 48)
EFFORT = Effort(frames=3, size=SIZE, draws=2, steps=3, lanes=2)
OPTIONS = Options()


def picture(size=SIZE):
    """Waves a fair way below the Nyquist rate, which the quintic spline reads without loss, `MARGIN` larger."""
    height, width = (length + 2 * MARGIN for length in size)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([0.5 + 0.3 * torch.cos(0.5 * x - 0.3 * y + phase) for phase in (0.0, 1.0, 2.0)])


@functools.cache
def case(motion=WARM_UP, effort=EFFORT):
    return inpainting.make_case(picture(effort.size), effort, motion)


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def known_model():
    """h = c + g (u - c) / (1 + s^2 / S^2): a linear denoiser with a gain g that stays on the screen; it counts."""
    count, gain = [0], 0.5 + torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0)) / 2

    def denoiser(noisy, sigma, condition):
        count[0] += len(noisy)
        known = (noisy - condition["picture"]) / (1 + (sigma / 0.1) ** 2)[:, None, None, None]
        return condition["picture"] + gain * known

    return Model(denoiser, ("white",), lambda _: (0.005, 1.5), lambda condition: condition["picture"]), count


def test_it_is_registered():
    assert BENCHMARKS["inpainting"] is inpainting.inpainting


def test_under_whole_shifts_holes_cover_the_same_content_in_every_frame():
    effort = Effort(frames=16)
    made = case(WARM_UP, effort)
    assert 0.2 < made.core[0].double().mean() < 0.25
    for j in range(effort.frames):
        shifted = made.core[0].roll((j, 2 * j), (0, 1))
        assert torch.equal(made.core[j], shifted)
        assert not (made.core[j] & (made.masks[j, 0] == 0)).any()
    torch.testing.assert_close(made.degraded, degrade(made.truth, "inpainting", mask=made.masks), rtol=0, atol=0)


@pytest.mark.parametrize("motion", list(inpainting.MOTIONS))
def test_the_hole_stays_in_sight_as_a_whole(motion):
    made = case(motion, Effort(frames=16))
    for core in made.core:
        assert core.any()
        assert not (core[0] | core[-1]).any()
        assert not (core[:, 0] | core[:, -1]).any()
    scale = 0.99**30 if motion == ZOOM else 1
    shares = made.core.double().mean((-2, -1))
    assert shares[-1] / shares[0] == pytest.approx(scale, rel=0.03)  # its rim does not shrink with it


@pytest.mark.parametrize("motion", [WARM_UP, SHIFT])
def test_shifts_bring_in_a_second_hole_that_the_first_frame_did_not_show(motion):
    made = case(motion, Effort(frames=16))
    entering = made.exposed.sum((-2, -1))
    assert entering[0] == 0
    # By the last frame all of it is there: an ellipse of these half axes.
    area = math.pi * math.prod(a * n for a, n in zip(inpainting.ENTERING.axes, (128, 96), strict=True))
    assert entering[-1] == pytest.approx(area, rel=0.03)
    assert not (made.exposed & made.core).any()
    assert torch.equal(made.masks[0, 0] > 0, inpainting.HOLE.covers(_pixels(96, 128), (96, 128)))


def _pixels(height, width):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y], -1).float()


def test_what_is_wrong_outside_of_the_hole_counts_for_the_frame_alone():
    made = case()
    pattern = noise(3, 3, *SIZE).sign() * 0.1
    elsewhere = (made.masks == 0) & (inpainting.depth(made.masks == 0) > 2)  # detail looks at four neighbours
    found = inpainting.measured(made.truth + pattern * elsewhere, made)
    true = inpainting.measured(made.truth, made)
    assert found.psnr == pytest.approx(true.psnr)
    assert found.detail_last == pytest.approx(true.detail_last)
    assert found.frame_to_first > 0.005
    # Under whole shifts the ruler reads pixels as they are.
    assert found.to_first < 1e-9
    assert found.to_previous < 1e-9


def test_what_is_wrong_in_the_hole_is_seen_and_by_its_own_measure():
    made = case()
    inside = made.core[:, None]
    constant = inpainting.measured(made.truth + 0.1 * inside, made)
    assert constant.psnr == pytest.approx(20, abs=1e-3)
    assert constant.to_first < 1e-9
    pattern = 0.1 * noise(3, *SIZE).sign()
    on_screen = inpainting.measured(made.truth + pattern * inside, made)
    # Two independent signs differ by 0 or 0.2, half of the time each.
    assert on_screen.to_first == pytest.approx(0.02, rel=0.2)
    assert on_screen.to_previous == pytest.approx(0.02, rel=0.2)


def test_psnr_on_newly_exposed_pixels_sees_no_others():
    made = case(WARM_UP, replace(EFFORT, frames=9))
    assert made.exposed[-1].any()
    spoilt = torch.where(made.exposed[:, None], made.truth + 0.1, made.truth + 0.5)
    assert inpainting.measured(spoilt, made).exposed == pytest.approx(20, abs=1e-3)
    assert math.isnan(inpainting.measured(case(ZOOM).truth, case(ZOOM)).exposed)


@pytest.mark.parametrize("label", list(inpainting.WAYS), ids=inpainting.named)
def test_every_way_fills_the_holes_and_nothing_else_with_as_many_evaluations(label):
    model, count = known_model()
    made = case()
    restored = inpainting.run(made, inpainting.WAYS[label], model, OPTIONS, EFFORT)
    assert count == [EFFORT.frames * EFFORT.steps]
    kept = (made.masks == 0).expand_as(restored)
    assert torch.equal(restored[kept], made.truth[kept])


def test_ways_differ_but_for_warps_that_are_the_same_under_whole_shifts():
    model, _ = known_model()
    effort = replace(EFFORT, frames=2)
    made = case(WARM_UP, effort)
    clips = {label: inpainting.run(made, way, model, OPTIONS, effort) for label, way in inpainting.WAYS.items()}
    warps = {"nearest", "bilinear", "gp", "integral"}
    labels = list(clips)
    for i, one in enumerate(labels):
        for other in labels[:i]:
            if not (one[1] == other[1] and {one[0], other[0]} <= warps):
                assert not torch.equal(clips[one], clips[other]), (one, other)
    found = {label: inpainting.measured(clip, made) for label, clip in clips.items()}
    assert found[DEFAULT].to_first < found[UNGUIDED].to_first


def test_warp_only_keeps_the_input_and_carries_the_first_frame_into_the_hole():
    made = case()
    first = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0))
    clip = inpainting.warped_first(first, made)
    kept = (made.masks == 0).expand_as(clip)
    assert torch.equal(clip[kept], made.truth[kept])
    expected = first.roll((2, 4), (1, 2))
    torch.testing.assert_close(clip[2][:, made.core[2]], expected[:, made.core[2]], rtol=0, atol=1e-5)


CLIP = Figures(1e-3, 1e-3, 1e-3, 17.0, 0.001, 0.001, 17.0)
WARMED = {
    label: replace(CLIP, to_first=0.005 if label[0] in ("fixed", "resample") else 1e-3) for label in inpainting.WAYS
}
WARMED |= {DEFAULT: replace(CLIP, to_first=9e-7), WARP_ONLY: replace(CLIP, exposed=14.0), TRUE: CLIP}


@pytest.mark.parametrize(
    ("label", "change", "failing"),
    [
        (DEFAULT, {}, None),
        (DEFAULT, {"to_first": 1.1e-6}, 0),
        (("nearest", "none"), {"to_first": 0.006}, 1),
        (("fixed", "none"), {"to_first": 0.0009}, 1),
        (DEFAULT, {"exposed": 13.9}, 2),
    ],
)
def test_verdicts_of_the_warm_up_hold_each_bound(label, change, failing):
    found = inpainting.warm_up_verdicts(WARMED | {label: replace(WARMED[label], **change)})
    assert [met for _, met in found] == [number != failing for number in range(3)]


@pytest.mark.parametrize(
    ("default", "true", "failing"),
    [
        ({}, {}, None),
        ({"to_first": 7e-5}, {}, 0),  # 1/14.3 of none
        ({"to_first": 7e-5}, {"to_first": 4e-5}, None),
        ({"detail_last": 0.0013}, {}, 1),
        ({"detail_last": 0.0007}, {}, 1),
        ({"detail_last": 0.0013}, {"detail_last": 0.0012}, 1),
        ({"detail_last": 0.0013}, {"detail_last": 0.0014}, None),  # the picture itself gains as much
        ({"detail_last": 0.0010}, {"detail_last": 0.0014}, 1),
    ],
)
def test_verdicts_of_other_motions_hold_each_bound(default, true, failing):
    figures = {
        UNGUIDED: CLIP,
        DEFAULT: replace(CLIP, **({"to_first": 6e-5} | default)),
        WARP_ONLY: CLIP,
        TRUE: replace(CLIP, **({"to_first": 1e-5} | true)),
    }
    assert [met for _, met in inpainting.verdicts(figures)] == [number != failing for number in range(2)]


def test_the_report_has_a_row_for_every_clip_and_a_verdict_for_every_bound(tmp_path):
    weights = tmp_path / "weights.safetensors"
    embedded.save(tiny_denoiser(task="inpainting"), weights, {})
    options = replace(OPTIONS, model=str(weights), out=tmp_path / "out")
    effort = replace(EFFORT, frames=2, draws=1, steps=1)
    report = inpainting.compare(options, effort, picture())
    labels = [
        (motion, *label) for motion in inpainting.MOTIONS for label in (*inpainting.ways(motion), WARP_ONLY, TRUE)
    ]
    assert [tuple(cell or "" for cell in row[:3]) for row in report.rows] == labels
    content = json.loads(report.json())
    assert content["rows"][-1]["PSNR, dB"] == "inf"
    assert sum(note.endswith(("met", "NOT MET")) for note in report.notes) == 3 + 2 * 3
    assert {path.name for path in options.out.iterdir()} == {f"inpainting-{n}.png" for n in (1, 2, 3, 4)}


def test_a_still_of_another_size_is_one_sentence():
    with pytest.raises(UserError, match="the still is"):
        inpainting.make_case(picture((20, 32)), EFFORT, WARM_UP)
