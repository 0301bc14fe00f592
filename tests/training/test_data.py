"""Samples: what they hold, and that the seed and their number say everything about them."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests.training.files import BROKEN, encoded, jpeg
from tests.training.packed import SIZES, tiny_config
from warped_diffusion.errors import UserError
from warped_diffusion.noise import grid_noise
from warped_diffusion.tasks import area_average
from warped_diffusion.training.data import Draw, Samples, condition_of, draw_noise
from warped_diffusion.training.parts import ByNumbers
from warped_diffusion.training.pictures import PackedPictures, crop, open_pictures

CASES = [
    {"task": "super-resolution", "drop": 0.3},
    {"task": "inpainting"},
    {"task": "clean-up"},
    {"task": "super-resolution", "model": "a/checkpoint", "scales": (8,)},
    {"task": "super-resolution", "model": "a/checkpoint", "scales": (4,), "rough": True},
    {"task": "inpainting", "model": "a/checkpoint"},
]


@pytest.fixture
def pictures(packed):
    return open_pictures(packed / "pictures")


def made(pictures, config, count=64):
    return Samples(pictures, config).samples(range(count))


def same(one, other):
    assert one.keys() == other.keys()
    return all(
        torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        for name, value in one.items()
    )


def joined(batches):
    """Small batches as one."""
    batches = list(batches)
    return {
        name: torch.cat([batch[name] for batch in batches])
        if isinstance(first, torch.Tensor)
        else [text for batch in batches for text in batch[name]]
        for name, first in batches[0].items()
    }


def test_a_split_holds_its_own_pictures(packed, pictures):
    assert [picture.shape for picture in pictures] == [(*size, 3) for size in SIZES]
    assert len(PackedPictures(packed / "pictures", "held-out")) == 1


@pytest.mark.parametrize("changes", CASES)
def test_a_sample_is_a_function_of_the_seed_and_its_number(packed, pictures, changes):
    """Asked for alone, in any order, in batches of other sizes and in other processes."""
    config = tiny_config(packed, **changes)
    samples = Samples(pictures, config)
    whole = samples.samples(range(12))
    assert same(joined([samples.samples([index]) for index in range(12)]), whole)
    backwards = Samples(open_pictures(packed / "pictures"), dataclasses.replace(config, batch=2))
    assert same(joined([backwards.samples([i, i + 1]) for i in range(10, -1, -2)][::-1]), whole)
    ranges = [range(first, first + 4) for first in (0, 4, 8)]
    assert same(joined(DataLoader(ByNumbers(samples), batch_size=None, sampler=ranges, num_workers=2)), whole)
    for other in (samples.samples(range(12, 24)), made(pictures, dataclasses.replace(config, seed=1), 12)):
        for name in ("clean", "picture", "relative_sigma", "noise_seed"):
            assert not torch.equal(whole[name], other[name])


def test_samples_do_not_repeat(packed, pictures):
    samples = made(pictures, tiny_config(packed, task="clean-up"), 128)
    for name in ("noise_seed", "relative_sigma"):
        assert len(samples[name].unique()) > 120  # some levels lie at the ends of their range
    assert len({clean.numpy().tobytes() for clean in samples["clean"]}) > 115  # crops without an edge are alike


def test_samples_are_what_the_network_expects(packed, pictures):
    config = tiny_config(packed, crop=20, drop=0.3)
    batch = made(pictures, config)
    assert batch["clean"].shape == batch["picture"].shape == (64, 3, 20, 20)
    assert batch["clean"].min() >= -1
    assert batch["clean"].max() <= 1
    assert batch["caption"] == [""] * 64
    assert condition_of(batch).keys() == {"picture", "scale", "spectrum"}
    dropped = batch["scale"] == 0
    assert 0 < dropped.sum() < 64
    assert batch["picture"][dropped].abs().max() == 0
    kept = ~dropped
    assert set(batch["scale"][kept].tolist()) <= set(config.scales)
    # The condition is the picture with its detail gone: close to it, of smaller variance.
    error = (batch["picture"] - batch["clean"])[kept].square().mean()
    assert error < 0.2 * batch["clean"][kept].var()
    assert batch["relative_sigma"].log().min() >= -3.7
    assert batch["relative_sigma"].log().max() <= 4.1 + 1e-5


def test_scales_are_drawn_by_their_shares(packed, pictures):
    config = tiny_config(packed, scales=(2, 8), scale_shares=(0.25, 0.75), drop=0.0)
    share = (made(pictures, config, 400)["scale"] == 8).double().mean()
    assert abs(share - 0.75) < 4 * np.sqrt(0.25 * 0.75 / 400)


def test_samples_with_holes_are_what_the_network_expects(packed, pictures):
    batch = made(pictures, tiny_config(packed, task="inpainting", drop=0.25, level_range=(-1.0, 1.0)))
    mask, picture = batch["mask"], batch["picture"]
    whole = mask.mean((1, 2, 3)) == 1
    assert 4 < whole.sum() < 30
    assert picture[whole].abs().max() == 0
    known = (mask == 0).expand_as(picture)
    assert torch.equal(picture[known], batch["clean"][known])
    assert torch.equal(batch["depth"] > 0, mask > 0)
    assert batch["relative_sigma"].log().abs().max() <= 1 + 1e-5
    # the fill is nearer to the picture than grey is
    hole = ~known & ~whole[:, None, None, None]
    assert (picture - batch["clean"])[hole].square().mean() < 0.7 * batch["clean"][hole].square().mean()


def test_samples_to_clean_up_are_the_crops_and_what_is_wrong_with_them(packed, pictures):
    batch = made(pictures, tiny_config(packed, task="clean-up", crop=32))
    assert condition_of(batch).keys() == {"picture", "spectrum"}
    assert batch["picture"].shape == batch["clean"].shape == (64, 3, 32, 32)
    assert batch["picture"].abs().max() <= 1
    residual = (batch["clean"] - batch["picture"]).square().mean((1, 2, 3)).sqrt()
    assert (residual == 0).double().mean() < 0.25  # nearly all are spoilt,
    assert (residual < 0.5 * batch["clean"].std((1, 2, 3))).double().mean() > 0.5  # and most can still be made out
    assert residual.unique().numel() > 40


def test_a_pretrained_model_sees_the_plain_degradation_of_whole_pictures(packed, pictures):
    """The condition's area average is the degraded picture, exactly but for three rounds of back projection."""
    config = tiny_config(packed, model="a/checkpoint", scales=(8,), crop=64, drop=1.0)
    plain, rough = (made(pictures, dataclasses.replace(config, rough=rough), 16) for rough in (False, True))
    assert set(plain["scale"].tolist()) == {8.0}  # nothing is dropped
    gaps = [(area_average(one["picture"] - one["clean"], 8)).square().mean().sqrt() for one in (plain, rough)]
    assert gaps[0] < 0.01 < gaps[1]


@pytest.mark.parametrize("task", ["super-resolution", "inpainting"])
def test_a_pretrained_model_sees_whole_pictures_the_right_way_up(packed, tmp_path, task):
    """Brightness falls from top to bottom of a picture that is twice the crop, and falls as far in every sample."""
    fall = np.linspace(250, 0, 100)[:, None, None]
    (tmp_path / "a.png").write_bytes(encoded(np.broadcast_to(fall, (100, 150, 3)).astype(np.uint8), "PNG"))
    (tmp_path / "a.txt").write_text("a fall")
    batch = made(open_pictures(tmp_path), tiny_config(packed, task=task, model="a/checkpoint", scales=(4,), crop=48), 8)
    ends = batch["clean"][..., [0, -1], :].mean((1, 3))
    torch.testing.assert_close(ends, torch.tensor([[0.96, -0.99]]).expand(8, 2), rtol=0, atol=0.05)
    assert batch["caption"] == ["a fall"] * 8


def test_a_pretrained_model_sees_grey_in_holes(packed, pictures):
    batch = made(pictures, tiny_config(packed, model="a/checkpoint", task="inpainting", drop=0.25))
    assert condition_of(batch).keys() == {"picture", "mask", "spectrum"}
    hole = (batch["mask"] > 0).expand_as(batch["clean"])
    assert (batch["picture"][hole] == 0).all()
    assert torch.equal(batch["picture"][~hole], batch["clean"][~hole])
    assert 4 < (batch["mask"].mean((1, 2, 3)) == 1).sum() < 30


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"task": "clean-up"}, "super-resolution or inpainting, not for clean-up"), ({"scales": (4, 8)}, "one factor")],
)
def test_what_no_pretrained_model_is_trained_for_is_one_sentence(packed, pictures, changes, said):
    if "scales" in changes:
        changes = changes | {"scale_shares": (0.5, 0.5)}
    with pytest.raises(UserError, match=said):
        Samples(pictures, tiny_config(packed, model="a/checkpoint", **changes))


def test_noise_has_the_spectrum_that_the_condition_names(packed, pictures):
    batch = made(pictures, tiny_config(packed))
    x = draw_noise(batch, (64, 3, 32, 32))
    neighbours = (x[..., 1:] * x[..., :-1]).mean((1, 2, 3))
    count = 3 * 32 * 31
    for index, expected in ((0, 0.0), (1, 0.341)):  # white; the paper's, one pixel apart
        chosen = neighbours[batch["spectrum"] == index]
        assert len(chosen) > 10
        # the products of a correlated field are correlated, over about two pixels each way
        assert abs(chosen.mean() - expected) < 4 * 2 / np.sqrt(count * len(chosen))


def test_noise_is_a_samples_own(packed, pictures):
    samples = Samples(pictures, tiny_config(packed))
    batch = samples.samples(range(8))
    noise = draw_noise(batch, (8, 4, 9, 12))
    for index in range(8):
        assert torch.equal(draw_noise(samples.samples([index]), (1, 4, 9, 12))[0], noise[index])
    name = ("white", "squared-exponential")[batch["spectrum"][0]]
    generator = torch.Generator().manual_seed(int(batch["noise_seed"][0]))
    assert torch.equal(grid_noise(name, (4, 9, 12), generator), noise[0])
    assert (noise[1:] - noise[:-1]).square().mean() > 1


@pytest.fixture
def crawled(tmp_path):
    """Pictures, what is broken, and a tiny one."""
    (tmp_path / "tiny.jpg").write_bytes(jpeg(0, (20, 20)))
    for number in range(20):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(number))
        (tmp_path / f"{number}.txt").write_text(f"picture {number}")
    for name, data in BROKEN.items():
        (tmp_path / f"{name}.jpg").write_bytes(data)
    return tmp_path


def test_bad_pictures_are_reported_once_and_replaced(crawled, packed):
    config = tiny_config(packed, crop=32)
    samples = Samples(open_pictures(crawled), config)
    first, second = samples.samples(range(150)), samples.samples(range(150))
    names = [line.partition(":")[0] for line in first["bad"]]
    away = {name.removesuffix(".jpg") for name in open_pictures(crawled, "held-out").names}
    assert sorted(names) == sorted(f"{name}.jpg" for name in {*BROKEN, "tiny"} - away)
    assert "tiny.jpg: too small, 20x20 for crops of 32" in first["bad"] or "tiny" in away
    assert second["bad"] == []
    assert torch.equal(first["clean"], second["clean"])
    assert set(first["caption"]) <= {f"picture {number}" for number in range(20)}
    assert len(set(first["caption"])) > 10


def test_nothing_but_small_pictures_ends_the_run(tmp_path, packed):
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(encoded(np.zeros((16, 30, 3), np.uint8), "PNG"))
    with pytest.raises(UserError, match=r"no crop of 24x24 \(the last is 30x16\): give larger pictures"):
        Samples(open_pictures(tmp_path), tiny_config(packed)).samples([0])


def test_flat_pictures_are_used_where_there_are_no_others(tmp_path, packed):
    (tmp_path / "sky.png").write_bytes(encoded(np.full((40, 40, 3), 120, np.uint8), "PNG"))
    draw = Draw(open_pictures(tmp_path), 0, np.random.default_rng(0))
    assert draw.crop(24, crop).std() < 1e-6


def test_missing_pictures_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"no packed pictures in .*: make them with scripts/pack_pictures.py"):
        PackedPictures(tmp_path, "train")
