"""The loop: that it lowers the loss, what it leaves behind, and what it does with steps that cannot be taken."""

import json
from itertools import pairwise

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.training.packed import as_toml, losses, tiny_config
from warped_diffusion.errors import UserError
from warped_diffusion.models import embedded
from warped_diffusion.restore import restore
from warped_diffusion.tasks import degrade
from warped_diffusion.training import checkpoints, train
from warped_diffusion.training.__main__ import main
from warped_diffusion.training.data import Samples
from warped_diffusion.training.embedded_learner import EmbeddedLearner
from warped_diffusion.training.pictures import open_pictures
from warped_diffusion.training.run import Run, make_accelerator, rate_factor

NETWORK = {"channels": (16, 16), "depths": (1, 1), "depths_up": (1, 0)}


def trained(folder):
    return load_file(checkpoints.newest(folder) / "trained.safetensors")


def averaged(folder):
    return load_file(checkpoints.newest(folder) / "averaged.safetensors")


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


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
    assert not {"pictures", "out", "cache"} & about.keys()  # a reader's folders are nobody's business
    loaded = embedded.load(path).state_dict()
    assert all(torch.equal(loaded[name], value.half().float()) for name, value in averaged(tmp_path).items())


def test_the_average_is_that_of_the_steps_and_the_first_step_is_adamws(packed, tmp_path):
    """By hand: Adam's first step is -rate sign(g), after a decay by rate x 0.01; the average begins at 1 - 10 / 11."""
    config = tiny_config(packed, out=str(tmp_path), steps=1, warmup=1, schedule="constant", rate=1e-3)
    begun = Run(config, make_accelerator(config)).learner.module.state_dict()
    train(config)
    now, mean = trained(tmp_path), averaged(tmp_path)
    moved = torch.cat([(now[name] - value * (1 - 1e-5)).flatten() for name, value in begun.items() if name in now])
    moved = moved[moved.abs() > 1e-6]  # most branches begin with a zero, behind which gradients are zero
    assert len(moved) > 200
    # but for gradients near eps; float32 beside weights of up to about one
    assert ((moved.abs() - 1e-3).abs() < 1e-6).float().mean() > 0.9
    for name, value in mean.items():
        torch.testing.assert_close(value, begun[name].lerp(now[name], 10 / 11))


def judged(config, learner, network=None):
    """The mean loss over 48 samples that no run comes to."""
    batch = Samples(open_pictures(config.pictures), config).samples(range(10_000, 10_048))
    with torch.no_grad():
        error, weight = learner.errors(network or learner.module, batch)
    return ((error * weight).sum() / weight.sum()).item()


@pytest.mark.parametrize(
    ("task", "rate", "levels", "gain"),
    [
        ("super-resolution", 1e-2, {"scales": (8,), "drop": 0.0}, 0.9),
        # a network of this reach can tell noise from a picture
        ("inpainting", 1e-2, {"level_mean": -1.0, "level_spread": 0.5, "drop": 0.0}, 0.9),
        # a few heavily spoilt crops weigh most
        ("clean-up", 3e-3, {"level_mean": 0.0, "level_spread": 0.5}, 0.95),
    ],
)
def test_a_short_run_lowers_the_loss_and_its_weights_restore_a_clip(packed, tmp_path, task, rate, levels, gain):
    settings = {"steps": 60, "batch": 8, "rate": rate, "warmup": 5, "network": NETWORK}
    config = tiny_config(packed, task=task, out=str(tmp_path), **settings, **levels)
    before = judged(config, EmbeddedLearner(config, torch.device("cpu")))
    weights = train(config)
    after = EmbeddedLearner(config, torch.device("cpu"))
    assert judged(config, after, embedded.load(weights)) < gain * before
    if task == "clean-up":
        picture = torch.from_numpy(open_pictures(config.pictures, "held-out")[0].transpose(2, 0, 1) / 255).float()
        clip = torch.stack([picture[:, :33, i : i + 41] for i in range(3)])
        spoilt = degrade(clip, task)
        restored = restore(spoilt, task=task, model=str(weights), steps=2, device="cpu")
        assert restored.shape == clip.shape
        assert (restored - clip).square().mean() < (spoilt - clip).square().mean()


def test_workers_and_parts_change_nothing_but_rounding(packed, tmp_path):
    """In inpainting items weigh differently, so parts that were averaged each by itself would be told apart."""
    settings = {"task": "inpainting", "steps": 5, "batch": 8}
    for name, changes in {"plain": {}, "workers": {"workers": 2}, "parts": {"accumulate": 4}}.items():
        train(tiny_config(packed, out=str(tmp_path / name), **settings, **changes))
    assert same(trained(tmp_path / "plain"), trained(tmp_path / "workers"))
    expected, came = losses(tmp_path / "plain"), losses(tmp_path / "parts")
    assert [loss for _, loss in came] == pytest.approx([loss for _, loss in expected], rel=1e-4)


def spoil(monkeypatch, at, how):
    """Steps counted from 0, in `at`, get the errors that `how` makes of theirs."""
    plain, count = EmbeddedLearner.errors, iter(range(10**6))

    def errors(self, network, batch):
        error, weight = plain(self, network, batch)
        return (how(error, network) if next(count) in at else error), weight

    monkeypatch.setattr(EmbeddedLearner, "errors", errors)


WAYS = {
    "loss": lambda error, network: error * torch.nan,
    # x ** (1/2) at nothing: a finite loss, an infinite slope
    "gradient": lambda error, network: error + sum((p * 0).abs().sum() for p in network.parameters()) ** 0.5,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_step_that_is_not_finite_is_skipped_and_counted(packed, tmp_path, monkeypatch, way):
    said = []
    config = tiny_config(packed, out=str(tmp_path), checkpoint_every=1, keep=9, patience=2)
    spoil(monkeypatch, {1, 3}, WAYS[way])  # the second and the fourth; not in a row
    train(config, say=said.append)
    for part in ("trained", "averaged"):
        states = [load_file(tmp_path / f"checkpoint-{step:06d}" / f"{part}.safetensors") for step in range(1, 7)]
        assert [same(before, after) for before, after in pairwise(states)] == [True, False, True, False, False]
    rows = [json.loads(line) for line in (tmp_path / "loss.jsonl").read_text().splitlines()]
    assert [row.get("skipped", False) for row in rows] == [False, True, False, True, False, False]
    assert (rows[1]["loss"] is None) == (way == "loss")
    assert said == ["2 of 6 steps had no finite loss and gradient, and were skipped"]


def test_too_many_such_steps_end_the_run_with_a_sentence(packed, tmp_path, monkeypatch, capsys):
    config = tiny_config(packed, out=str(tmp_path / "run"), steps=20, patience=4)
    spoil(monkeypatch, set(range(5, 20)), WAYS["loss"])
    (tmp_path / "run.toml").write_text(as_toml(config))
    assert main([str(tmp_path / "run.toml")]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith(
        "error: 4 steps in a row, up to step 9, had no finite loss and gradient: give a rate below"
    )
    # the count in a row goes on where the checkpoint after step 6, one of them, was written
    monkeypatch.undo()
    spoil(monkeypatch, set(range(20)), WAYS["loss"])
    with pytest.raises(UserError, match="4 steps in a row, up to step 9"):
        train(config)


def test_the_rate_rises_holds_and_falls_to_nothing(packed):
    config = tiny_config(packed, steps=1000, warmup=100, cooldown=0.4)
    assert rate_factor(config, 0) == pytest.approx(0.01)
    assert rate_factor(config, 99) == rate_factor(config, 600) == 1
    assert rate_factor(config, 800) == pytest.approx(0.5)
    assert rate_factor(config, 1000) == 0
    falling = [rate_factor(config, step) for step in range(600, 1001)]
    assert all(later < earlier for earlier, later in pairwise(falling[1:]))
    constant = tiny_config(packed, steps=1000, warmup=100, schedule="constant")
    assert [rate_factor(constant, step) for step in (49, 99, 999)] == [0.5, 1, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pictures": "nowhere"}, "nowhere"),
        ({"batch": 6, "accumulate": 4}, "batch is 6, which cannot be shared evenly by 1 processes that accumulate 4"),
        ({"precision": "fp16"}, 'precision is "fp16", which CPUs do not train in'),
        ({"crop": 500}, "pictures in a row gave no crop of"),
        ({"crop": 500, "workers": 1}, "^300 pictures in a row gave no crop of"),
    ],
)
def test_what_cannot_be_is_one_sentence(packed, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        train(tiny_config(packed, out=str(tmp_path / "run"), **changes))


@pytest.mark.parametrize("parts", [1, 4])
def test_a_step_has_the_loss_and_gradient_of_the_weighted_mean(packed, parts):
    config = tiny_config(packed, task="inpainting", batch=8, accumulate=parts)
    run = Run(config, make_accelerator(config))
    samples = Samples(open_pictures(config.pictures), config)
    torch.manual_seed(config.seed)
    learner = EmbeddedLearner(config, torch.device("cpu"))
    error, weight = learner.errors(learner.module, samples.samples(range(8)))
    loss = (error * weight).sum() / weight.sum()
    assert abs(loss.item() - error.mean().item()) > 1e-3  # the weights matter
    loss.backward()
    norm = torch.cat([p.grad.flatten() for p in learner.module.parameters()]).norm()
    size = 8 // parts
    step = run.advance(samples.samples(range(first, first + size)) for first in range(0, 8, size))
    assert step.loss == pytest.approx(loss.item(), rel=1e-5)  # float32
    assert step.norm == pytest.approx(norm.item(), rel=1e-5)
