"""Batches: what they hold, and that the seed and the step say everything about them."""

import json

import numpy as np
import pytest
import torch

from tests.training.packed import SIZES, tiny_config
from warped_diffusion.errors import UserError
from warped_diffusion.training.data import PackedPictures, make_batch


@pytest.fixture
def pictures(packed):
    return PackedPictures(packed / "pictures", "train")


def tensors(batch):
    return [batch.clean, batch.relative_sigma, batch.noise, *batch.condition.values()]


def test_a_split_holds_its_own_pictures(packed, pictures):
    assert [picture.shape for picture in pictures] == [(*size, 3) for size in SIZES]
    assert len(PackedPictures(packed / "pictures", "held-out")) == 1


def test_a_crop_is_a_piece_of_a_picture_turned_and_averaged(tmp_path):
    """In a picture whose red is x and whose green is y, a crop's colours tell where it lay."""
    y, x = np.meshgrid(np.arange(160), np.arange(200), indexing="ij")
    np.stack([x, y, 0 * x], -1).astype(np.uint8).tofile(tmp_path / "pictures.bin")
    entry = {"name": "grid", "source": "made", "offset": 0, "size": [160, 200], "split": "train"}
    (tmp_path / "pictures.json").write_text(json.dumps([entry]))
    pictures, generator, seen = PackedPictures(tmp_path, "train"), np.random.default_rng(0), set()
    for _ in range(60):
        red, green, _ = pictures.crop(24, generator) * 255
        steps = [float((colour[-1, -1] - colour[0, 0]) / 23) for colour in (red, green)]
        reduction, turned = round(abs(steps[0])), bool((red[0] - red[0, 0]).abs().max() < 1e-3)
        seen.add((reduction, turned, steps[0] > 0, steps[1] > 0))
        for colour, step, along_y in ((red, steps[0], turned), (green, steps[1], not turned)):
            plane = colour.mT if along_y else colour
            expected = plane[0, 0] + round(step) * torch.arange(24)
            torch.testing.assert_close(plane, expected.expand(24, 24), rtol=0, atol=1e-3)
            first = colour.min() - (reduction - 1) / 2  # a block's mean lies in the block's middle
            torch.testing.assert_close(first, first.round(), rtol=0, atol=1e-3)
    assert {reduction for reduction, *_ in seen} == {1, 2, 3}
    assert len({tuple(orientation) for _, *orientation in seen}) == 8


def test_a_batch_is_a_function_of_the_seed_and_the_step(packed, pictures):
    config = tiny_config(packed)
    first, again = make_batch(pictures, config, 5), make_batch(pictures, config, 5)
    assert all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(again), strict=True))
    for other in (make_batch(pictures, config, 6), make_batch(pictures, tiny_config(packed, seed=1), 5)):
        assert not torch.equal(first.clean, other.clean)
        assert not torch.equal(first.noise, other.noise)


def test_a_batch_is_what_the_network_expects(packed, pictures):
    config = tiny_config(packed, batch=64, group=4, crop=20, drop=0.3)
    batch = make_batch(pictures, config, 0)
    assert batch.clean.shape == batch.noise.shape == batch.condition["picture"].shape == (64, 3, 20, 20)
    assert batch.clean.min() >= -1
    assert batch.clean.max() <= 1
    dropped = batch.condition["scale"] == 0
    assert 0 < dropped.sum() < 64
    assert batch.condition["picture"][dropped].abs().max() == 0
    kept = ~dropped
    assert set(batch.condition["scale"][kept].tolist()) <= set(config.scales)
    # The condition is the picture with its detail gone: close to it, of smaller variance.
    error = (batch.condition["picture"] - batch.clean)[kept].square().mean()
    assert error < 0.2 * batch.clean[kept].var()
    assert batch.relative_sigma.log().min() >= -3.7
    assert batch.relative_sigma.log().max() <= 4.1 + 1e-5


def test_a_batch_of_holes_is_what_the_network_expects(packed, pictures):
    config = tiny_config(packed, task="inpainting", batch=64, group=4, drop=0.25, level_range=(-1.0, 1.0))
    batch, again = make_batch(pictures, config, 0), make_batch(pictures, config, 0)
    assert all(torch.equal(a, b) for a, b in zip(tensors(batch), tensors(again), strict=True))
    mask, picture = batch.condition["mask"], batch.condition["picture"]
    whole = mask.mean((1, 2, 3)) == 1
    assert 4 < whole.sum() < 30
    assert picture[whole].abs().max() == 0
    known = (mask == 0).expand_as(picture)
    assert torch.equal(picture[known], batch.clean[known])
    assert torch.equal(batch.condition["depth"] > 0, mask > 0)
    assert batch.relative_sigma.log().abs().max() <= 1 + 1e-5
    # the fill is nearer to the picture than grey is
    hole = ~known & ~whole[:, None, None, None]
    assert (picture - batch.clean)[hole].square().mean() < 0.7 * batch.clean[hole].square().mean()


def test_a_batch_to_clean_up_is_the_crops_and_what_is_wrong_with_them(packed, pictures):
    config = tiny_config(packed, task="clean-up", batch=64, group=4, crop=32)
    first, again = make_batch(pictures, config, 0), make_batch(pictures, config, 0)
    assert all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(again), strict=True))
    assert first.condition.keys() == {"picture", "spectrum"}
    assert first.condition["picture"].shape == first.clean.shape == (64, 3, 32, 32)
    assert first.condition["picture"].abs().max() <= 1
    residual = (first.clean - first.condition["picture"]).square().mean((1, 2, 3)).sqrt()
    assert (residual == 0).double().mean() < 0.25  # nearly all are spoilt,
    assert (residual < 0.5 * first.clean.std((1, 2, 3))).double().mean() > 0.5  # and most can still be made out
    assert residual.unique().numel() > 40


def test_noise_has_the_spectrum_that_the_condition_names(packed, pictures):
    batch = make_batch(pictures, tiny_config(packed, batch=64, group=8, crop=32), 0)
    x = batch.noise
    neighbours = (x[..., 1:] * x[..., :-1]).mean((1, 2, 3))
    count = 3 * 32 * 31
    for index, expected in ((0, 0.0), (1, 0.341)):  # white; the paper's, one pixel apart
        chosen = neighbours[batch.condition["spectrum"] == index]
        assert len(chosen) > 10
        # the products of a correlated field are correlated, over about two pixels each way
        assert abs(chosen.mean() - expected) < 4 * 2 / np.sqrt(count * len(chosen))


def test_missing_pictures_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"no packed pictures in .*: make them with scripts/pack_pictures.py"):
        PackedPictures(tmp_path, "train")
