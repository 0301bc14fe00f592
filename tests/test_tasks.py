"""Degradations and conditions."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.masks import FAR, random_masks
from warped_diffusion.tasks import (
    TASKS,
    TOLERANCE,
    CleanUp,
    Deblurring,
    Inpainting,
    SuperResolution,
    area_average,
    back_project,
    composite,
    degrade,
    enlarge,
    make_task,
    smooth_fill,
)


def pictures(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def ramp(height, width):
    """A plane, other in every channel, within [0, 1]."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([0.1 + 0.5 * x / width + 0.3 * y / height, 0.9 - 0.4 * x / width, 0.2 + 0.6 * y / height])[None]


@pytest.mark.parametrize("factor", [2, 3, 8])
def test_area_average_is_the_mean_of_every_block(factor):
    x = pictures(2, 3, 3 * factor + 1, 2 * factor)  # a row too many, which is cut off
    low = area_average(x, factor)
    assert low.shape == (2, 3, 3, 2)
    for i in range(3):
        for j in range(2):
            block = x[..., i * factor : (i + 1) * factor, j * factor : (j + 1) * factor]
            torch.testing.assert_close(low[..., i, j], block.mean((-2, -1)))


def test_area_average_takes_any_leading_dimensions():
    x = pictures(2, 5, 3, 8, 8)
    torch.testing.assert_close(area_average(x, 4)[1, 2], area_average(x[1, 2], 4))


def test_operators_are_the_degradations():
    """In model units; clean-up has none."""
    x, mask = pictures(2, 3, 8, 16), (pictures(2, 1, 8, 16, seed=1) > 0.6).float()
    for task, holes in ((SuperResolution(4), None), (Inpainting(), mask), (Deblurring(1.2), None)):
        low = task.degrade(x, holes)
        measured = task.operator(task.condition(low, holes)).apply(x * 2 - 1)
        known = 1 - mask if holes is not None else torch.ones(())
        torch.testing.assert_close(measured * known, (low * 2 - 1) * known)
    with pytest.raises(UserError, match="clean-up undoes what is not linear"):
        CleanUp().operator({})


def test_a_frame_smaller_than_a_block_is_refused():
    with pytest.raises(ShapeError, match="frames are 9x7, smaller than one block of 8x8"):
        area_average(pictures(3, 7, 9), 8)


@pytest.mark.parametrize("factor", [2, 5, 8])
def test_enlarging_brings_a_plane_back_where_it_was(factor):
    """Half-pixel centres: averaging and enlarging again shifts nothing. Beyond two low pixels the edge has its say."""
    plane, inner = ramp(12 * factor, 10 * factor), slice(2 * factor, -2 * factor)
    again = enlarge(area_average(plane, factor), tuple(plane.shape[-2:]))
    torch.testing.assert_close(again[..., inner, inner], plane[..., inner, inner], rtol=0, atol=2e-6)


def test_degrade_then_condition_is_back_on_the_grid():
    task = SuperResolution(4)
    low = task.degrade(pictures(2, 3, 24, 32))
    condition = task.condition(low)
    assert low.shape == (2, 3, 6, 8)
    assert task.output_size((6, 8)) == (24, 32)
    assert condition["picture"].shape == (2, 3, 24, 32)
    assert condition["scale"].tolist() == [4.0, 4.0]


def test_back_projection_brings_the_average_back_to_the_input_round_by_round():
    # Frames as smooth as photographs are: white noise of the low resolution would converge too, but more slowly.
    low = torch.nn.functional.interpolate(pictures(1, 3, 6, 8), size=(18, 24), mode="bicubic")
    missed = [(area_average(back_project(low, 4, rounds), 4) - low).square().mean().sqrt() for rounds in range(4)]
    assert torch.equal(back_project(low, 4, 0), enlarge(low, (72, 96)))
    assert all(later < 0.5 * earlier for earlier, later in pairwise(missed))
    torch.testing.assert_close(SuperResolution(4).condition(low)["picture"], back_project(low, 4) * 2 - 1)


def test_a_batchs_condition_is_its_items():
    task, low = SuperResolution(3), pictures(3, 3, 5, 7)
    alone = torch.cat([task.condition(item[None])["picture"] for item in low])
    torch.testing.assert_close(task.condition(low)["picture"], alone)


@pytest.mark.parametrize("scale", [1, 9, 2.5, -4])
def test_a_scale_that_cannot_be_done_is_one_sentence(scale):
    with pytest.raises(UserError, match="the scale must be a whole number from 2 to 8, got"):
        degrade(pictures(1, 3, 32, 32), scale=scale)


def test_an_unknown_task_names_those_there_are():
    with pytest.raises(
        UserError, match="task is one of super-resolution, inpainting, clean-up, deblurring, got 'colourise'"
    ):
        make_task("colourise", scale=4)


def test_rough_degradation_follows_from_its_generator():
    task, clean = SuperResolution(4), pictures(8, 3, 32, 32)
    first, again, other = (task.degrade_roughly(clean, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_rough_degradation_stays_close_to_the_clean_one_and_often_is_it():
    task, count = SuperResolution(2), 400
    plane = ramp(64, 64).expand(count, -1, -1, -1)
    clean = task.degrade(plane)
    rough = task.degrade_roughly(plane, np.random.default_rng(0))
    assert rough.dtype == torch.float32
    assert rough.min() >= 0
    assert rough.max() <= 1
    error = (rough - clean).square().mean((1, 2, 3)).sqrt()
    assert error.max() < 0.03  # noise of at most 2.5 / 255, and a JPEG of quality 60 upwards
    share, expected = (error == 0).double().mean().item(), 0.85 * 0.85 * 0.8
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / count)


def box(height, width, top, bottom, left, right):
    mask = torch.zeros(1, 1, height, width)
    mask[..., top:bottom, left:right] = 1
    return mask


def dirichlet(picture, mask):
    """Laplace's equation by a dense solve: each pixel of the hole is the mean of its neighbours within the frame."""
    height, width = picture.shape
    number = torch.arange(height * width).reshape(height, width)
    system, right = torch.eye(height * width, dtype=torch.float64), picture.double().flatten().clone()
    for y, x in mask.nonzero().tolist():
        near = [(y + dy, x + dx) for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))]
        near = [(b, a) for b, a in near if 0 <= b < height and 0 <= a < width]
        system[number[y, x]] = 0
        system[number[y, x], number[y, x]] = len(near)
        for b, a in near:
            system[number[y, x], number[b, a]] = -1
        right[number[y, x]] = 0
    return torch.linalg.solve(system, right).reshape(height, width)


def test_the_fill_nears_the_membrane_sweep_by_sweep():
    picture = torch.nn.functional.interpolate(pictures(1, 1, 4, 5), size=(19, 23), mode="bicubic")
    mask = box(19, 23, 4, 15, 6, 23)  # reaches the frame's edge
    expected = dirichlet(picture[0, 0], mask[0, 0])
    errors = [(smooth_fill(picture, mask, n)[0, 0] - expected).square().mean().sqrt().item() for n in (0, 8, 32, 128)]
    assert all(later < 0.7 * earlier for earlier, later in pairwise(errors))
    # 8 sweeps, the default: a small part of what the fill itself varies by in the hole
    assert errors[1] < 0.25 * expected[mask[0, 0] > 0].std()
    assert errors[3] < 0.02 * expected[mask[0, 0] > 0].std()


def test_the_fill_keeps_what_is_known_and_does_not_look_into_the_hole():
    picture = pictures(3, 3, 21, 34)
    mask = random_masks(3, (21, 34), np.random.default_rng(0), whole=0)
    filled = smooth_fill(picture, mask)
    assert torch.equal(filled * (1 - mask), picture * (1 - mask))
    assert torch.equal(smooth_fill(torch.where(mask > 0, torch.full_like(picture, torch.nan), picture), mask), filled)
    lowest, highest = (torch.where(mask > 0, end, picture).flatten(2) for end in (torch.inf, -torch.inf))
    assert (filled.flatten(2) >= lowest.amin(2, keepdim=True) - 1e-5).all()  # a membrane has no peaks of its own
    assert (filled.flatten(2) <= highest.amax(2, keepdim=True) + 1e-5).all()


def test_the_fill_of_a_constant_is_the_constant_and_of_nothing_is_zero():
    mask = random_masks(6, (17, 30), np.random.default_rng(1), whole=0)
    torch.testing.assert_close(smooth_fill(torch.full((6, 2, 17, 30), 0.3), mask), torch.full((6, 2, 17, 30), 0.3))
    nothing = smooth_fill(pictures(1, 3, 17, 30), torch.ones(1, 1, 17, 30))
    assert nothing.abs().max() == 0


def test_a_batchs_fill_is_its_items():
    picture, mask = pictures(3, 3, 18, 25), random_masks(3, (18, 25), np.random.default_rng(2))
    alone = torch.cat([smooth_fill(p[None], m[None]) for p, m in zip(picture, mask, strict=True)])
    torch.testing.assert_close(smooth_fill(picture, mask), alone)


def test_inpaintings_condition():
    task, picture = Inpainting(), pictures(3, 3, 16, 24)
    mask = torch.cat([box(16, 24, 5, 10, 8, 16), torch.ones(1, 1, 16, 24), torch.zeros(1, 1, 16, 24)])
    condition = task.condition(task.degrade(picture, mask), mask)
    assert task.output_size((16, 24)) == (16, 24)
    assert torch.equal(condition["mask"], mask)
    torch.testing.assert_close(condition["picture"], smooth_fill(picture * 2 - 1, mask))
    assert condition["picture"][1].abs().max() == 0  # nothing is known: mid grey
    assert torch.equal(condition["picture"][2], picture[2] * 2 - 1)
    assert (condition["depth"] > 0).equal(mask > 0)
    assert condition["depth"][0].max() == 3
    assert (condition["depth"][1] == FAR).all()


def test_a_soft_mask_is_a_hole_wherever_it_is_positive():
    picture, mask = pictures(1, 3, 16, 24), box(16, 24, 5, 10, 8, 16)
    hard, soft = (Inpainting().condition(picture, m) for m in (mask, mask * 0.3))
    assert all(torch.equal(hard[name], soft[name]) for name in hard)


def test_one_mask_serves_a_batch():
    picture, mask = pictures(2, 3, 16, 24), box(16, 24, 5, 10, 8, 16)
    condition = Inpainting().condition(picture, mask)
    assert {name: len(value) for name, value in condition.items()} == {"picture": 2, "mask": 2, "depth": 2}


def test_degrading_by_a_mask_is_mid_grey_in_the_hole():
    picture, mask = pictures(2, 5, 3, 16, 24), box(16, 24, 5, 10, 8, 16)
    degraded = degrade(picture, "inpainting", mask=mask)
    inside = mask.expand_as(picture) > 0
    assert (degraded[inside] == 0.5).all()
    assert torch.equal(degraded[~inside], picture[~inside])


def test_the_composite_is_exact_at_both_ends():
    picture, restored = pictures(1, 3, 4, 5), pictures(1, 3, 4, 5, seed=1)
    alpha = torch.tensor([0.0, 0.25, 0.5, 1.0, 1.0]).expand(1, 1, 4, 5)
    out = composite(picture, restored, alpha)
    assert torch.equal(out[..., 0], picture[..., 0])
    assert torch.equal(out[..., 3:], restored[..., 3:])
    torch.testing.assert_close(out[..., 2], (picture + restored)[..., 2] / 2)


def test_a_task_takes_a_mask_or_refuses_it():
    picture, mask = pictures(1, 3, 16, 24), torch.ones(1, 1, 16, 24)
    takes = {name: kind.takes_mask for name, kind in TASKS.items()}
    assert takes == {"super-resolution": False, "inpainting": True, "clean-up": False, "deblurring": False}
    sr, inpainting = make_task("super-resolution"), make_task("inpainting")
    for call in (make_task("clean-up").degrade, make_task("clean-up").condition):
        with pytest.raises(UserError, match="task 'clean-up' takes no mask: leave it out"):
            call(picture, mask)
    assert sr.output_size((2, 3)) == (8, 12)
    for call in (sr.degrade, sr.condition):
        with pytest.raises(UserError, match="task 'super-resolution' takes no mask: leave it out"):
            call(picture, mask)
    for call in (inpainting.degrade, inpainting.condition):
        with pytest.raises(UserError, match="inpainting needs a mask, 1 where the frame is to be filled in"):
            call(picture)
        with pytest.raises(ShapeError, match=r"the mask is \(\.\.\., 1, 16, 24\) like the frames, got \(1, 1, 8, 24\)"):
            call(picture, mask[..., :8, :])
    with pytest.raises(UserError, match="task 'inpainting' keeps the frame's size and has no scale, got 4"):
        make_task("inpainting", scale=4)


def test_an_estimate_is_brought_to_the_input_and_its_detail_is_left_alone():
    task = make_task("super-resolution", 4)
    truth = torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    condition = task.condition(area_average(truth, 4))
    picture = condition["picture"]
    detail = truth - torch.nn.functional.interpolate(area_average(truth, 4), scale_factor=4.0)  # averages to nothing
    torch.testing.assert_close(task.agree(picture + detail, condition), picture + detail, rtol=0, atol=1e-5)
    torch.testing.assert_close(task.agree(picture + 0.01, condition), picture + 0.01)  # within the input's own noise
    torch.testing.assert_close(task.agree(picture - 0.3, condition), picture - 4 * TOLERANCE, rtol=0, atol=1e-5)


def test_outside_the_holes_an_estimate_is_the_input():
    task, mask = make_task("inpainting"), torch.zeros(1, 1, 16, 20)
    mask[..., 4:9, 5:12] = 1
    frame = torch.rand(1, 3, 16, 20, generator=torch.Generator().manual_seed(0))
    estimate = torch.full((1, 3, 16, 20), 0.25)
    agreed = task.agree(estimate, task.condition(frame, mask))
    assert torch.equal(agreed, torch.where(mask > 0, estimate, frame * 2 - 1))


def test_clean_up_keeps_the_size_and_its_condition_is_the_input():
    task, picture = make_task("clean-up"), pictures(2, 3, 17, 25)
    assert task.output_size((17, 25)) == (17, 25)
    assert task.degrade(picture).shape == picture.shape
    assert torch.equal(task.condition(picture)["picture"], picture * 2 - 1)
    with pytest.raises(UserError, match="task 'clean-up' keeps the frame's size and has no scale, got 4"):
        make_task("clean-up", scale=4)


def test_a_frame_is_spoilt_alike_by_itself_and_within_a_clip_and_each_in_its_own_way():
    plane = ramp(32, 40)
    clip = torch.stack([plane[0], plane[0] + 1 / 255, pictures(3, 32, 40)])
    together = degrade(clip, "clean-up")
    assert torch.equal(together, torch.stack([degrade(frame, "clean-up") for frame in clip]))
    assert torch.equal(together, degrade(clip[None], "clean-up")[0])
    first, second = (together[:2] - clip[:2]).flatten(1)
    # a noise that stood still would be the same in both; JPEG leaves a little that is
    assert torch.corrcoef(torch.stack([first, second]))[0, 1] < 0.1


def test_the_noise_of_clean_up_is_of_the_deviation_it_names(monkeypatch):
    monkeypatch.setattr("warped_diffusion.artefacts.jpeg", lambda picture, quality: picture)
    error = degrade(torch.full((1, 3, 64, 64), 0.5), "clean-up") - 0.5
    torch.testing.assert_close(error.std(), torch.tensor(CleanUp.NOISE), rtol=1e-3, atol=0)
    neighbours = (error[..., 1:] * error[..., :-1]).mean() / error.square().mean()
    assert abs(neighbours) < 4 / np.sqrt(error.numel())  # white


def test_rough_clean_up_follows_from_its_generator_and_is_of_every_amount():
    task, count = CleanUp(), 400
    clean = ramp(48, 48).expand(count, -1, -1, -1)
    first, again, other = (task.degrade_roughly(clean, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1
    error = (first - clean).square().mean((1, 2, 3)).sqrt() * 255
    share, expected = (error == 0).double().mean().item(), 0.75 * 0.25 * 0.25
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / count)
    assert error.max() < 50  # noise of 40, and the worst of coding
    assert 2 < error.median() < 15
    assert (error > 20).double().mean() > 0.02


@pytest.mark.parametrize("size", [(32, 48), (33, 41), (7, 9)])
def test_a_cleaned_frame_may_differ_from_its_input_in_all_but_its_coarse_means(size):
    task, frame = CleanUp(), pictures(1, 3, *size)
    condition = task.condition(frame)
    base = condition["picture"]
    sign = 1 - 2 * ((torch.arange(size[0])[:, None] + torch.arange(size[1])) % 2).float()  # averages to nothing
    rough = base + 0.3 * (sign - sign.mean())
    torch.testing.assert_close(task.agree(base, condition), base)
    torch.testing.assert_close(task.agree(rough, condition), rough)
    torch.testing.assert_close(task.agree(base + 0.1, condition), base + 0.1)  # as noise and coding may
    torch.testing.assert_close(task.agree(base - 0.5, condition), base - CleanUp.TOLERANCE, rtol=0, atol=1e-5)


def test_deblurring_undoes_a_gaussian_of_its_width():
    """A wave of k rad/px keeps exp(-k^2 b^2 / 2) of its height, away from the edges; the size stays."""
    blur, k = 1.3, 0.8
    wave = 0.5 + 0.4 * torch.cos(k * torch.arange(64.0)).expand(1, 2, 3, 40, 64)
    blurred = degrade(wave, "deblurring", blur=blur)
    assert blurred.shape == wave.shape
    inner = slice(6, -6)
    kept = torch.exp(torch.tensor(-(k**2) * blur**2 / 2))
    expected = 0.5 + kept * (wave - 0.5)
    torch.testing.assert_close(blurred[..., inner], expected[..., inner], rtol=0, atol=1e-4)  # cut at four deviations
    assert torch.equal(degrade(wave, "deblurring"), Deblurring(1.5).degrade(wave))


def test_deblurrings_condition_is_the_input_and_its_width():
    task, picture = make_task("deblurring", blur=2.5), pictures(2, 3, 17, 25)
    assert task.output_size((17, 25)) == (17, 25)
    condition = task.condition(picture)
    assert torch.equal(condition["picture"], picture * 2 - 1)
    assert condition["blur"].tolist() == [2.5, 2.5]
    assert task.noise > 0
    for call in (task.degrade, task.condition):
        with pytest.raises(UserError, match="task 'deblurring' takes no mask"):
            call(picture, picture[:, :1])


def test_a_deblurred_frame_may_differ_from_its_input_where_the_blur_took_all():
    task, truth = Deblurring(2.0), enlarge(pictures(1, 3, 8, 10), (32, 40))
    condition = task.condition(task.degrade(truth))
    truth = truth * 2 - 1
    chequer = 1 - 2 * ((torch.arange(32)[:, None] + torch.arange(40)) % 2).float()  # which the blur takes away
    torch.testing.assert_close(task.agree(truth + 0.3 * chequer, condition), truth + 0.3 * chequer, rtol=0, atol=1e-4)
    torch.testing.assert_close(task.agree(truth + 0.02, condition), truth + 0.02)  # within rounding and coding
    torch.testing.assert_close(task.agree(truth - 0.4, condition), truth - Deblurring.TOLERANCE, rtol=0, atol=1e-5)


@pytest.mark.parametrize("blur", [0, -1.0, float("nan"), float("inf"), "wide"])
def test_a_blur_that_cannot_be_is_one_sentence(blur):
    with pytest.raises(UserError, match="the blur is the deviation of a Gaussian in pixels, above 0, got"):
        degrade(pictures(1, 3, 32, 32), "deblurring", blur=blur)


def test_a_blur_is_refused_by_tasks_that_have_none():
    for name in TASKS.keys() - {"deblurring"}:
        with pytest.raises(UserError, match=f"task '{name}' has no blur, got 1.5: leave it out"):
            make_task(name, blur=1.5)
    with pytest.raises(UserError, match="task 'deblurring' keeps the frame's size and has no scale, got 4"):
        make_task("deblurring", scale=4)
