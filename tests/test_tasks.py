"""Degradations and conditions."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.tasks import SuperResolution, area_average, back_project, degrade, enlarge, make_task


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
    with pytest.raises(UserError, match="task is one of super-resolution, got 'colourise'"):
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
