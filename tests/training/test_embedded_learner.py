"""What the embedded networks are asked: the scale of the loss, and what counts."""

import math

import pytest
import torch

from tests.training.packed import tiny_config
from warped_diffusion.models import embedded
from warped_diffusion.models.conditioning import enlargement_deviation, fill_deviation
from warped_diffusion.training import train
from warped_diffusion.training.embedded_learner import EmbeddedLearner

NETWORK = {"channels": (8,), "depths": (1,), "depths_up": (0,)}
CPU = torch.device("cpu")


def batch_of(clean, condition, level):
    items = len(clean)
    rest = {"spectrum": torch.zeros(items, dtype=torch.long), "noise_seed": torch.arange(items)}
    return {"clean": clean, "relative_sigma": level, **condition, **rest}


def errors(learner, batch):
    with torch.no_grad():
        return learner.errors(learner.module, batch)


def test_the_error_of_saying_nothing_is_one_at_every_level(packed):
    """A residual of variance s_d^2 is best guessed as c_skip u; the error is c_out^2, the posterior's variance."""
    generator = torch.Generator().manual_seed(0)
    shape = (12, 3, 64, 64)
    condition = {
        "picture": torch.randn(shape, generator=generator),
        "scale": torch.tensor([0.0, 2.0, 4.0, 8.0]).repeat(3),
    }
    s_data = enlargement_deviation(condition["scale"])[:, None, None, None]
    clean = condition["picture"] + s_data * torch.randn(shape, generator=generator)
    batch = batch_of(clean, condition, torch.tensor([0.03, 1.0, 15.0]).repeat_interleave(4))
    error, weight = errors(EmbeddedLearner(tiny_config(packed, network=NETWORK), CPU), batch)
    assert error.shape == weight.shape == (12,)
    # each a mean of 12 288 squared normals
    assert (error - 1).abs().max() < 4 * math.sqrt(2 / clean[0].numel())
    assert (weight == 1).all()


def test_in_holes_too_the_error_of_saying_nothing_is_one(packed):
    """The residual has the deviation of its depth; what lies outside the holes does not count."""
    generator = torch.Generator().manual_seed(0)
    shape, side = (6, 3, 96, 96), 96
    depth = torch.arange(side).clamp(max=60).float().expand(6, 1, side, side).clone()
    depth[3:, :, :, 20:] = 0  # narrow holes
    condition = {"picture": torch.randn(shape, generator=generator), "mask": (depth > 0).float(), "depth": depth}
    clean = condition["picture"] + fill_deviation(depth) * torch.randn(shape, generator=generator)
    batch = batch_of(clean, condition, torch.tensor([0.01, 1.0, 15.0]).repeat(2))
    learner = EmbeddedLearner(tiny_config(packed, network=NETWORK, task="inpainting"), CPU)
    error, weight = errors(learner, batch)
    elsewhere, _ = errors(learner, batch | {"clean": clean + 3.0 * (depth == 0)})
    assert torch.equal(elsewhere, error)
    # squared normals; the narrow holes hold the fewest, 5 472 each
    assert (error - 1).abs().max() < 4 * math.sqrt(2 / 5472)
    torch.testing.assert_close(weight, (depth > 0).float().mean((1, 2, 3)).sqrt())


def test_an_item_without_a_hole_has_no_say(packed):
    depth = torch.zeros(2, 1, 16, 16)
    depth[1, :, :, 4:] = 3
    picture = torch.zeros(2, 3, 16, 16)
    batch = batch_of(picture + 0.5, {"picture": picture, "mask": (depth > 0).float(), "depth": depth}, torch.ones(2))
    error, weight = errors(EmbeddedLearner(tiny_config(packed, network=NETWORK, task="inpainting"), CPU), batch)
    assert error.isfinite().all()
    assert weight[0] == 0 < weight[1]


def test_an_item_does_not_depend_on_its_batch(packed):
    generator = torch.Generator().manual_seed(0)
    picture = torch.randn(3, 3, 24, 24, generator=generator)
    batch = batch_of(picture.roll(1, -1), {"picture": picture, "scale": torch.full((3,), 4.0)}, torch.ones(3))
    batch["spectrum"] = torch.tensor([0, 1, 1])
    learner = EmbeddedLearner(tiny_config(packed, network=NETWORK), CPU)
    error, _ = errors(learner, batch)
    last, _ = errors(learner, {name: value[2:] for name, value in batch.items()})
    torch.testing.assert_close(last, error[2:], rtol=1e-5, atol=0)  # float32 sums in another order


def test_what_is_shown_is_the_input_an_estimate_and_the_truth(packed):
    picture = torch.full((2, 3, 24, 24), -0.5)
    batch = batch_of(picture + 0.75, {"picture": picture, "scale": torch.full((2,), 4.0)}, torch.ones(2))
    learner = EmbeddedLearner(tiny_config(packed, network=NETWORK), CPU)
    shown = learner.shown(learner.module, batch)
    assert shown.shape == (2, 3, 24, 72)
    assert (shown[..., :24] == 0.25).all()
    assert (shown[..., 48:] == 0.625).all()
    assert 0 <= shown.min() < shown.max() <= 1


def test_weights_to_begin_with_are_taken_over(packed, tmp_path):
    weights = train(tiny_config(packed, out=str(tmp_path), steps=1))
    learner = EmbeddedLearner(tiny_config(packed, warm_start=str(weights)), CPU)
    loaded = embedded.load(weights).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in learner.module.state_dict().items())


@pytest.mark.parametrize("task", ["super-resolution", "inpainting", "clean-up"])
def test_a_run_for_each_task_begins_with_the_weights_of_the_first(packed, tmp_path, task):
    weights = train(tiny_config(packed, out=str(tmp_path / "first"), steps=2))
    config = tiny_config(packed, out=str(tmp_path / task), steps=2, task=task, warm_start=str(weights))
    assert embedded.load(train(config)).task == task
