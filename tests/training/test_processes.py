"""Real processes: killed ones go on bit for bit, and two of them walk the path of one."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.packed import as_toml, losses, tiny_config
from warped_diffusion.training import checkpoints, train

ROOT = Path(__file__).parents[2]
CURVE = 1e-4
"""Relative, between loss curves whose sums are taken in another order."""


def environment(**more):
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"} | more


def start(arguments, **more):
    """A process of its own, which says nothing unless it fails."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, env=environment(**more), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_for(happened, process, seconds=120):
    ends = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < ends
        time.sleep(0.002)


def contents(folder):
    """Everything that a run leaves but for times: by name, tensors, texts and numbers."""
    last = checkpoints.newest(folder)
    optimizer = torch.load(last / "optimizer.bin", weights_only=True)["state"]
    moments = {f"{i} {key}": value for i, state in optimizer.items() for key, value in state.items()}
    weights = {part: load_file(last / f"{part}.safetensors") for part in ("trained", "averaged")}
    return weights | {"optimizer": moments, "exported": load_file(folder / "weights.safetensors")}


@pytest.mark.parametrize("after", [11, pytest.param(26, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_bit_for_bit(packed, tmp_path, after):
    """Killed from outside, at a moment that nobody chose, a little after a step that somebody did."""
    settings = {"steps": 40, "workers": 1, "checkpoint_every": 4, "validate_every": 10}
    whole, broken = (tiny_config(packed, out=str(tmp_path / name), **settings) for name in ("whole", "broken"))
    (tmp_path / "run.toml").write_text(as_toml(broken))
    log = tmp_path / "broken" / "loss.jsonl"
    process = start(["-m", "warped_diffusion.training", tmp_path / "run.toml"])
    wait_for(lambda: log.is_file() and log.read_text().count("\n") >= after, process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()
    assert checkpoints.newest(tmp_path / "broken").name >= f"checkpoint-{after // 4 * 4 - 4:06d}"
    train(whole)
    taken_up = []
    train(broken, lambda step, *_: taken_up.append(step))
    assert 1 < taken_up[0] < 40
    assert taken_up == list(range(taken_up[0], 41))
    assert losses(tmp_path / "whole") == losses(tmp_path / "broken")  # and none of them twice
    expected, came = contents(tmp_path / "whole"), contents(tmp_path / "broken")
    for part, values in expected.items():
        assert values.keys() == came[part].keys()
        for name, value in values.items():
            assert torch.equal(value, came[part][name]), (part, name)


TWICE = """
import sys
from warped_diffusion.training import read_config, train
for path in sys.argv[1:]:
    train(read_config(path))
"""


def start_two(arguments):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    meeting["GLOO_SOCKET_IFNAME"] = "lo"
    return [start(arguments, RANK=str(rank), LOCAL_RANK=str(rank), **meeting) for rank in range(2)]


def ended(processes):
    for process in processes:
        _, message = process.communicate(timeout=180)
        assert process.returncode == 0, message.decode()


def test_two_processes_have_the_loss_curve_of_one(packed, tmp_path):
    """Inpainting, whose items weigh differently: the mean of two processes' losses would be another loss."""
    settings = {"task": "inpainting", "steps": 10, "batch": 8, "validate_every": 5, "rate": 3e-3}
    for name, accumulate in (("plain", 1), ("parts", 2)):
        (tmp_path / f"{name}.toml").write_text(
            as_toml(tiny_config(packed, out=str(tmp_path / name), accumulate=accumulate, **settings))
        )
    processes = start_two(["-c", TWICE, tmp_path / "plain.toml", tmp_path / "parts.toml"])
    one = tiny_config(packed, out=str(tmp_path / "one"), **settings)
    train(one)
    ended(processes)
    expected = losses(tmp_path / "one")
    for name in ("plain", "parts"):
        came = losses(tmp_path / name)
        assert [step for step, _ in came] == list(range(1, 11))  # one process writes
        assert [loss for _, loss in came] == pytest.approx([loss for _, loss in expected], rel=CURVE)
    # what two processes left, one goes on with
    further = tiny_config(packed, out=str(tmp_path / "plain"), **(settings | {"steps": 12}))
    taken_up = []
    train(further, lambda step, *_: taken_up.append(step))
    assert taken_up == [11, 12]


SHARDED = """
import os, sys
import accelerate
state = accelerate.PartialState(cpu=True)
state.distributed_type = accelerate.DistributedType.MULTI_GPU  # accelerate shards nowhere else; gloo does not mind
settings = {"USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP"}
os.environ.update({f"ACCELERATE_{k}" if k == "USE_FSDP" else k: v for k, v in settings.items()})
os.environ["FSDP_TRANSFORMER_CLS_TO_WRAP"] = "Block"
os.environ["ACCELERATE_USE_CPU"] = "false"
from warped_diffusion.training import read_config, train
train(read_config(sys.argv[1], steps=sys.argv[2]))
"""


@pytest.mark.slow
def test_a_sharded_run_goes_on_and_has_the_loss_curve_of_one_process(packed, tmp_path):
    """Looks at held-out pictures between steps: the averages gathered for that must not stay for the next step."""
    settings = {"task": "inpainting", "batch": 8, "validate_every": 2, "schedule": "constant", "rate": 3e-3, "steps": 8}
    (tmp_path / "run.toml").write_text(as_toml(tiny_config(packed, out=str(tmp_path / "sharded"), **settings)))
    for steps in (5, 8):
        ended(start_two(["-c", SHARDED, tmp_path / "run.toml", steps]))
    train(tiny_config(packed, out=str(tmp_path / "one"), **settings))
    expected, came = losses(tmp_path / "one"), losses(tmp_path / "sharded")
    assert [loss for _, loss in came] == pytest.approx([loss for _, loss in expected], rel=CURVE)
    weights, other = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "sharded"))
    assert all(torch.allclose(value, other[name], rtol=2e-3, atol=1e-4) for name, value in weights.items())  # halves
