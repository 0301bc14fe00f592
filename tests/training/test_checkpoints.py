"""Checkpoints: whole or not there, the newest few, and of the same model."""

import pytest
import torch

from tests.training.packed import losses, tiny_config
from warped_diffusion.errors import UserError
from warped_diffusion.training import checkpoints, train
from warped_diffusion.training.average import Average


def write(out, step, keep=2, fail=False):
    with checkpoints.writing(out, step, keep, True, lambda: None) as folder:
        (folder / "weights").write_text(str(step))
        if fail:
            raise KeyboardInterrupt
        (folder / checkpoints.STATE).write_text("{}")


def names(out):
    return sorted(path.name for path in out.iterdir())


def test_the_newest_few_are_kept(tmp_path):
    assert checkpoints.newest(tmp_path) is None
    for step in (5, 10, 1_000_000, 15):
        write(tmp_path, step)
    assert names(tmp_path) == ["checkpoint-000015", "checkpoint-1000000"]
    assert checkpoints.newest(tmp_path).name == "checkpoint-1000000"  # by number, not by name


def test_a_half_written_one_is_passed_over_and_removed(tmp_path):
    write(tmp_path, 5)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, 10, fail=True)
    assert names(tmp_path) == ["checkpoint-000005", "checkpoint-000010.part"]
    (tmp_path / "checkpoint-000020").mkdir()  # moved here by hand, half of it
    (tmp_path / "checkpoint-000030-old").mkdir()
    (tmp_path / "checkpoint-000030-old" / checkpoints.STATE).write_text("{}")
    assert checkpoints.newest(tmp_path).name == "checkpoint-000005"
    write(tmp_path, 20)
    assert names(tmp_path) == ["checkpoint-000005", "checkpoint-000020", "checkpoint-000030-old"]


def test_a_run_goes_on_from_the_newest_whole_one(packed, tmp_path, monkeypatch):
    config = tiny_config(packed, out=str(tmp_path), steps=9, checkpoint_every=2, keep=2)
    replace = checkpoints.os.replace

    def fails(source, target):
        if target.name == "checkpoint-000008":
            raise OSError("no space left")
        replace(source, target)

    monkeypatch.setattr(checkpoints.os, "replace", fails)
    with pytest.raises(OSError, match="no space"):
        train(config)
    monkeypatch.undo()
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert (tmp_path / "checkpoint-000008.part").is_dir()
    taken_up, said = [], []
    train(config, lambda step, *_: taken_up.append(step), said.append)
    assert taken_up == [7, 8, 9]
    assert said == [f"going on from {tmp_path / 'checkpoint-000006'}"]
    assert [step for step, _ in losses(tmp_path)] == list(range(1, 10))
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-000008", "checkpoint-000009"]


@pytest.mark.parametrize(
    "changes", [{"task": "inpainting"}, {"network": {"channels": (8,), "depths": (1,), "depths_up": (0,)}}]
)
def test_a_checkpoint_of_another_model_is_one_sentence(packed, tmp_path, changes):
    train(tiny_config(packed, out=str(tmp_path), steps=1))
    with pytest.raises(UserError, match=rf"checkpoint-000001 is of a run with {next(iter(changes))} = .*another --out"):
        train(tiny_config(packed, out=str(tmp_path), steps=2, **changes))


def test_a_resumed_run_may_have_another_batch_and_goes_on_with_new_samples(packed, tmp_path, monkeypatch):
    from warped_diffusion.training.data import Samples

    seen, plain = [], Samples.samples
    monkeypatch.setattr(Samples, "samples", lambda self, which: seen.extend(which) or plain(self, which))
    train(tiny_config(packed, out=str(tmp_path), steps=2, batch=4))
    train(tiny_config(packed, out=str(tmp_path), steps=4, batch=6))
    assert seen == list(range(2 * 4 + 2 * 6))


def test_a_resumed_run_may_have_another_number_of_parts(packed, tmp_path):
    whole, broken = (
        {"out": str(tmp_path / name), "schedule": "constant", "batch": 8, "steps": 6} for name in ("whole", "broken")
    )
    train(tiny_config(packed, **whole))
    train(tiny_config(packed, **broken | {"steps": 3}))
    train(tiny_config(packed, **broken, accumulate=4))
    expected, came = losses(tmp_path / "whole"), losses(tmp_path / "broken")
    assert [loss for _, loss in came] == pytest.approx([loss for _, loss in expected], rel=1e-4)


def test_averages_and_values_change_places_and_back():
    layer = torch.nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    average = Average(layer.parameters())
    first = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.add_(1)
    second = layer.weight.detach().clone()
    average.update(0.75)
    mean = average.values[0].clone()
    torch.testing.assert_close(mean, 0.75 * first + 0.25 * second)
    with average.in_place():
        assert torch.equal(layer.weight, mean)
    assert torch.equal(layer.weight, second)
    assert torch.equal(average.values[0], mean)
    assert len(average.values) == 1
