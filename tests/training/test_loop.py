"""The loop: the loss's scale, the rate, and that a killed run goes on as if nothing had been."""

import dataclasses
import json
import math
from itertools import pairwise

import pytest
import torch
from safetensors import safe_open

from tests.training.packed import tiny_config
from warped_diffusion.errors import UserError
from warped_diffusion.models import embedded
from warped_diffusion.models.conditioning import enlargement_deviation, fill_deviation
from warped_diffusion.models.embedded import EmbeddedDenoiser
from warped_diffusion.restore import restore
from warped_diffusion.tasks import degrade
from warped_diffusion.training import train
from warped_diffusion.training.data import Batch, PackedPictures, make_batch
from warped_diffusion.training.loop import Run, denoising_loss, rate_factor, trim_log


class Killed(Exception):
    pass


def kill_at(step):
    def report(now, steps, loss, seconds):
        if now == step:
            raise Killed

    return report


def losses(folder):
    """(step, loss) of every line."""
    rows = [json.loads(line) for line in (folder / "loss.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in rows]


def test_a_killed_run_goes_on_bit_for_bit(packed, tmp_path):
    whole = tiny_config(packed, out=str(tmp_path / "whole"))
    broken = tiny_config(packed, out=str(tmp_path / "broken"))
    train(whole)
    with pytest.raises(Killed):
        train(broken, kill_at(5))  # two steps past the checkpoint at 3
    taken_up = []
    train(broken, lambda step, *_: taken_up.append(step))
    assert taken_up == [4, 5, 6]
    assert [step for step, _ in losses(tmp_path / "broken")] == [1, 2, 3, 4, 5, 6]  # none of them twice
    assert losses(tmp_path / "whole") == losses(tmp_path / "broken")
    expected, came = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "broken"))
    assert expected["step"] == came["step"] == 6
    for part in ("denoiser", "average"):
        for name, value in expected[part].items():
            assert torch.equal(value, came[part][name]), (part, name)
    for name, state in expected["optimizer"]["state"].items():
        assert all(torch.equal(value, came["optimizer"]["state"][name][key]) for key, value in state.items())


def test_a_log_is_cut_where_the_checkpoint_was(tmp_path):
    path = tmp_path / "loss.jsonl"
    lines = [json.dumps({"step": step, "loss": 1.0}) + "\n" for step in range(1, 6)]
    path.write_text("".join(lines) + '{"step": 6, "lo')  # killed while it wrote
    trim_log(path, 5)
    assert path.read_text() == "".join(lines)
    trim_log(path, 2)
    assert path.read_text() == "".join(lines[:2])
    trim_log(tmp_path / "none", 0)


def test_a_finished_run_says_what_it_made(packed, tmp_path):
    config = tiny_config(packed, out=str(tmp_path), steps=2)
    path = train(config)
    assert path == tmp_path / "weights.safetensors"
    assert train(config) == path  # nothing left to do
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["about"])
    assert about["task"] == "super-resolution"
    assert about["spectra"] == ["white", "squared-exponential"]
    assert about["parameterisation"] == "edm residual"
    assert about["steps"] == 2
    assert not {"pictures", "out"} & about.keys()  # a reader's folders are nobody's business
    average = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["average"]
    loaded = embedded.load(path).state_dict()
    assert all(torch.equal(loaded[name], value.half().float()) for name, value in average.items())


def judged(pictures, config):
    """The mean loss of a denoiser over six batches that no run comes to."""
    batches = [make_batch(pictures, config, 10_000 + number) for number in range(6)]

    def loss(denoiser):
        with torch.no_grad():
            return sum(denoising_loss(denoiser, batch, False).item() for batch in batches) / len(batches)

    return loss


def test_a_short_run_lowers_the_loss(packed):
    network = {"channels": (16, 16), "depths": (1, 1), "depths_up": (1, 0)}
    one_scale = {"scales": (8,), "scale_shares": (1.0,), "drop": 0.0}
    config = tiny_config(packed, steps=60, batch=8, group=4, rate=1e-2, warmup=5, network=network, **one_scale)
    pictures = PackedPictures(config.pictures, "train")
    loss = judged(pictures, config)
    torch.set_num_threads(1)
    run = Run(config)
    before = loss(run.denoiser)
    for step in range(config.steps):
        run.advance(make_batch(pictures, config, step))
    # .72 -> .60: much of what is asked at random levels cannot be known
    assert loss(run.denoiser) < 0.9 * before
    assert loss(run.average) < 0.9 * before


def test_weights_to_begin_with_are_taken_over(packed, tmp_path):
    config = tiny_config(packed, out=str(tmp_path), steps=1)
    weights = train(config)
    run = Run(tiny_config(packed, warm_start=str(weights)))
    loaded = embedded.load(weights).state_dict()
    for part in (run.denoiser, run.average):
        assert all(torch.equal(value, loaded[name]) for name, value in part.state_dict().items())


def test_the_loss_of_saying_nothing_is_one_at_every_level():
    """A residual of variance s_d^2 is best guessed as c_skip u; the error is c_out^2, the posterior's variance."""
    generator = torch.Generator().manual_seed(0)
    shape = (12, 3, 64, 64)
    condition = {
        "picture": torch.randn(shape, generator=generator),
        "scale": torch.tensor([0.0, 2.0, 4.0, 8.0]).repeat(3),
        "spectrum": torch.zeros(12, dtype=torch.long),
    }
    s_data = enlargement_deviation(condition["scale"])[:, None, None, None]
    clean = condition["picture"] + s_data * torch.randn(shape, generator=generator)
    level = torch.tensor([0.03, 1.0, 15.0]).repeat_interleave(4)
    batch = Batch(clean, condition, level, torch.randn(shape, generator=generator))
    denoiser = EmbeddedDenoiser({"channels": (8,), "depths": (1,), "depths_up": (0,)})
    with torch.no_grad():
        for item in range(12):
            one = Batch(
                clean[item : item + 1],
                {name: value[item : item + 1] for name, value in condition.items()},
                level[item : item + 1],
                batch.noise[item : item + 1],
            )
            # a mean of 12 288 squared normals
            assert abs(denoising_loss(denoiser, one, False) - 1) < 4 * math.sqrt(2 / clean[0].numel())
        assert abs(denoising_loss(denoiser, batch, False) - 1) < 4 * math.sqrt(2 / clean.numel())


def test_in_holes_too_the_loss_of_saying_nothing_is_one():
    """The residual has the deviation of its depth; what lies outside the holes does not count."""
    generator = torch.Generator().manual_seed(0)
    shape, side = (6, 3, 96, 96), 96
    depth = torch.arange(side).clamp(max=60).float().expand(6, 1, side, side).clone()
    depth[3:, :, :, 20:] = 0  # narrow holes
    condition = {"picture": torch.randn(shape, generator=generator), "mask": (depth > 0).float(), "depth": depth}
    condition["spectrum"] = torch.zeros(6, dtype=torch.long)
    clean = condition["picture"] + fill_deviation(depth) * torch.randn(shape, generator=generator)
    level = torch.tensor([0.01, 1.0, 15.0]).repeat(2)
    batch = Batch(clean, condition, level, torch.randn(shape, generator=generator))
    denoiser = EmbeddedDenoiser({"channels": (8,), "depths": (1,), "depths_up": (0,)}, "inpainting")
    with torch.no_grad():
        loss = denoising_loss(denoiser, batch, False)
        elsewhere = dataclasses.replace(batch, clean=clean + 3.0 * (depth == 0))
        assert torch.equal(denoising_loss(denoiser, elsewhere, False), loss)
    # squared normals; the narrow holes hold the fewest, 5 472 each, and weigh less than evenly
    assert abs(loss - 1) < 4 * math.sqrt(2 / 5472)


@pytest.mark.parametrize("task", ["super-resolution", "inpainting", "clean-up"])
def test_a_run_for_each_task_begins_with_the_weights_of_the_first(packed, tmp_path, task):
    weights = train(tiny_config(packed, out=str(tmp_path / "first"), steps=2))
    config = tiny_config(packed, out=str(tmp_path / task), steps=2, task=task, warm_start=str(weights))
    path = train(config)
    assert embedded.load(path).task == task
    assert [step for step, _ in losses(tmp_path / task)] == [1, 2]


def test_a_short_run_learns_to_fill_holes(packed):
    network = {"channels": (16, 16), "depths": (1, 1), "depths_up": (1, 0)}
    levels = {"level_mean": -1.0, "level_spread": 0.5}  # a network of this reach can tell noise from a picture
    settings = {"steps": 60, "batch": 8, "group": 4, "rate": 1e-2, "warmup": 5, "drop": 0.0, "network": network}
    config = tiny_config(packed, task="inpainting", **settings, **levels)
    pictures = PackedPictures(config.pictures, "train")
    loss = judged(pictures, config)
    torch.set_num_threads(1)
    run = Run(config)
    before = loss(run.denoiser)
    for step in range(config.steps):
        run.advance(make_batch(pictures, config, step))
    assert loss(run.denoiser) < 0.9 * before


def test_a_short_run_learns_to_clean_up_and_its_weights_restore_a_clip(packed, tmp_path):
    network = {"channels": (16, 16), "depths": (1, 1), "depths_up": (1, 0)}
    levels = {"level_mean": 0.0, "level_spread": 0.5}
    settings = {"steps": 60, "batch": 8, "group": 4, "rate": 3e-3, "warmup": 5, "network": network}
    config = tiny_config(packed, task="clean-up", out=str(tmp_path), **settings, **levels)
    pictures = PackedPictures(config.pictures, "train")
    loss = judged(pictures, config)
    before, weights = loss(Run(config).denoiser), train(config)
    assert loss(embedded.load(weights)) < 0.95 * before  # 1.11 -> 1.03: a few heavily spoilt crops weigh most
    picture = torch.from_numpy(PackedPictures(config.pictures, "held-out")[0].transpose(2, 0, 1) / 255).float()
    clip = torch.stack([picture[:, :33, i : i + 41] for i in range(3)])
    spoilt = degrade(clip, "clean-up")
    restored = restore(spoilt, task="clean-up", model=str(weights), steps=2, device="cpu")
    assert restored.shape == clip.shape
    assert (restored - clip).square().mean() < (spoilt - clip).square().mean()  # by a tenth


def test_the_rate_rises_holds_and_falls_to_nothing(packed):
    config = tiny_config(packed, steps=1000, warmup=100, cooldown=0.4)
    assert rate_factor(config, 0) == pytest.approx(0.01)
    assert rate_factor(config, 99) == rate_factor(config, 600) == 1
    assert rate_factor(config, 800) == pytest.approx(0.5)
    assert rate_factor(config, 1000) == 0
    falling = [rate_factor(config, step) for step in range(600, 1001)]
    assert all(later < earlier for earlier, later in pairwise(falling[1:]))


def test_missing_pictures_are_one_sentence(packed, tmp_path):
    with pytest.raises(UserError, match="no packed pictures in"):
        train(tiny_config(packed, pictures=str(tmp_path / "nowhere"), out=str(tmp_path / "run")))


def test_a_checkpoint_of_another_task_is_one_sentence(packed, tmp_path):
    out = str(tmp_path / "run")
    train(tiny_config(packed, out=out, steps=1))
    with pytest.raises(UserError, match="another network or task"):
        train(tiny_config(packed, task="inpainting", out=out, steps=2))
