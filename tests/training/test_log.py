"""What a run leaves for people: its log, TensorBoard's files, the pictures that were no good, a dry run's report."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.packed import as_toml, losses, tiny_config
from warped_diffusion.training import checkpoints, dry_run, train
from warped_diffusion.training.__main__ import main
from warped_diffusion.training.data import Samples
from warped_diffusion.training.log import trim_log
from warped_diffusion.training.run import rate_factor


def test_a_log_is_cut_where_the_checkpoint_was(tmp_path):
    path = tmp_path / "loss.jsonl"
    lines = [json.dumps({"step": step, "loss": 1.0}) + "\n" for step in range(1, 6)]
    path.write_text("".join(lines) + '{"step": 6, "lo')  # killed while it wrote
    trim_log(path, 5)
    assert path.read_text() == "".join(lines)
    trim_log(path, 2)
    assert path.read_text() == "".join(lines[:2])
    trim_log(tmp_path / "none", 0)


def board(folder):
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return events


def test_tensorboard_is_given_scalars_and_pictures(packed, tmp_path):
    config = tiny_config(packed, out=str(tmp_path), validate_every=3, steps=6)
    train(config)
    events = board(tmp_path)
    given = [(event.step, event.value) for event in events.Scalars("training/loss")]
    assert [step for step, _ in given] == list(range(1, 7))
    assert [value for _, value in given] == pytest.approx([loss for _, loss in losses(tmp_path)], abs=1e-6)
    rates = [event.value for event in events.Scalars("training/rate")]
    assert rates == pytest.approx([config.rate * rate_factor(config, step) for step in range(6)])
    for name in ("gradient_norm", "seconds", "skipped"):
        assert len(events.Scalars(f"training/{name}")) == 6
    looks = events.Scalars("validation/loss")
    assert [event.step for event in looks] == [3, 6]
    assert all(0 < event.value < 3 for event in looks)
    pictures = events.Images("validation/input_estimate_truth")
    assert [event.step for event in pictures] == [3, 6]
    # four pieces below each other, each input | estimate | truth
    assert (pictures[0].height, pictures[0].width) == (4 * config.crop, 3 * config.crop)


def test_a_run_that_goes_on_takes_back_what_it_had_told_tensorboard(packed, tmp_path):
    class Stop(Exception):
        pass

    def stop(step, *_):
        if step == 5:
            raise Stop

    config = tiny_config(packed, out=str(tmp_path))
    with pytest.raises(Stop):
        train(config, stop)  # the checkpoint is from step 3
    train(config)
    assert [event.step for event in board(tmp_path).Scalars("training/loss")] == list(range(1, 7))


def test_looking_at_held_out_pictures_changes_nothing_and_sees_the_same(packed, tmp_path):
    plain, looked = (tiny_config(packed, out=str(tmp_path / str(every)), validate_every=every) for every in (0, 2))
    train(plain)
    train(looked)
    expected, came = (load_file(checkpoints.newest(tmp_path / name) / "trained.safetensors") for name in ("0", "2"))
    assert all(torch.equal(value, came[name]) for name, value in expected.items())
    still = tiny_config(packed, out=str(tmp_path / "still"), validate_every=1, rate=1e-30, weight_decay=0.0)
    train(still)
    values = {event.value for event in board(tmp_path / "still").Scalars("validation/loss")}
    assert len(values) == 1  # the same pieces, under the same noise, in the same network


def test_bad_pictures_are_noted_once_and_counted(packed, tmp_path, monkeypatch):
    plain = Samples.samples
    found = {4: ["a.jpg: cut off"], 12: ["a.jpg: cut off", "b.jpg: empty"]}
    monkeypatch.setattr(Samples, "samples", lambda self, which: plain(self, which) | {"bad": found.get(which[0], [])})
    said = []
    train(tiny_config(packed, out=str(tmp_path)), say=said.append)
    path = tmp_path / "bad-pictures.txt"
    assert path.read_text() == "a.jpg: cut off\nb.jpg: empty\n"
    assert said == [f"2 pictures could not be used: {path} says which and why"]


def test_a_dry_run_reports_and_writes_nothing(packed, tmp_path):
    config = tiny_config(packed, out=str(tmp_path / "run"), steps=1000, batch=8, accumulate=2, precision="bf16")
    before = sorted(packed.rglob("*"))
    report = dict(line.split(maxsplit=1) for line in dry_run(config).splitlines())
    assert not (tmp_path / "run").exists()
    assert sorted(packed.rglob("*")) == before
    count = sum(value.numel() for value in trained_once(packed, tmp_path).values())
    assert report["model"] == f"embedded for super-resolution: {count:,} parameters trained, 0 frozen"
    size = f"{count * 4 / 1e6:.1f} MB"  # float32; AdamW keeps two numbers of each parameter, and a count of each tensor
    assert report["memory"].startswith(f"weights {size}, gradients {size}, optimiser {count * 8 / 1e6:.1f} MB")
    assert re.search(rf"averages {size}: [\d.]+ MB; peak [\d.]+ [MG]B", report["memory"])
    assert report["data"] == f"3 pictures, packed, in {packed / 'pictures'}"
    assert report["steps"] == "1000 of 8 samples, 8000 samples in all"
    assert report["processes"] == "1 on cpu, 2 parts each of 4 samples, precision bf16"
    seconds, left = re.fullmatch(r"([\d.e-]+) s a step, about ([\d.]+ \w+) for 1000 steps", report["time"]).groups()
    assert float(seconds) > 0
    number, unit = left.split()
    assert float(number) * {"s": 1, "min": 60, "h": 3600}[unit] == pytest.approx(float(seconds) * 1000, rel=0.1, abs=1)


def trained_once(packed, tmp_path):
    train(tiny_config(packed, out=str(tmp_path / "other"), steps=1))
    return load_file(tmp_path / "other" / "checkpoint-000001" / "trained.safetensors")


def test_the_module_is_a_command(packed, tmp_path, capsys):
    config = tiny_config(packed, out=str(tmp_path / "run"))
    (tmp_path / "run.toml").write_text(as_toml(config))
    assert main([str(tmp_path / "run.toml"), "--steps", "2", "--warmup=1"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path / 'run' / 'weights.safetensors'}\n"
    assert "step 2 of 2, loss" in captured.err
    assert main([str(tmp_path / "run.toml"), "--dry-run"]) == 0
    assert "6 of 4 samples, 24 samples in all; 2 are done" in capsys.readouterr().out
    assert main([str(tmp_path / "run.toml"), "--step", "2"]) == 2
    assert "error: training has no option '--step': give --KEY VALUE" in capsys.readouterr().err
    assert main([str(tmp_path / "run.toml"), "--steps"]) == 2
    assert "--steps is given no value" in capsys.readouterr().err
