"""What a run would take, found out by counting and by two real steps, without leaving anything behind."""

import dataclasses
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from warped_diffusion.training import checkpoints
from warped_diffusion.training.config import TrainConfig
from warped_diffusion.training.data import Samples
from warped_diffusion.training.loop import begin, steps
from warped_diffusion.training.parts import make_parts
from warped_diffusion.training.run import Run, make_accelerator

STEPS = 2
"""Steps taken; the first one's time, with all that is set up in it, does not count."""


def dry_run(config: TrainConfig) -> str:
    """A report of a run's parameters, memory, data, steps and time; writes nothing.

    To be called in every process of a run. A pretrained model computes its latents anew, whatever `cache` says.
    Raises: UserError for what would stop the run.
    """
    accelerator = make_accelerator(config)
    pictures, run = begin(dataclasses.replace(config, cache=""), accelerator)
    if accelerator.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(accelerator.device)
    parts = make_parts(Samples(pictures, config), config, accelerator, 0, STEPS)
    seconds = [seconds for _, (_, seconds) in zip(range(STEPS), steps(run, parts), strict=False)][-1]
    last = checkpoints.newest(Path(config.out))
    done = checkpoints.read(last)["step"] if last is not None else 0
    left = max(0, config.steps - done)
    rows = {
        "model": _parameters(config, run),
        "memory": _memory(run),
        "data": pictures.describe(),
        "steps": f"{config.steps} of {config.batch} samples, {config.steps * config.batch} samples in all"
        + (f"; {done} are done" if done else ""),
        "processes": f"{accelerator.num_processes} on {accelerator.device.type}, {config.accumulate} parts each of "
        f"{config.batch // accelerator.num_processes // config.accumulate} samples, precision "
        f"{accelerator.mixed_precision}",
        "time": f"{seconds:.3g} s a step, about {_duration(seconds * left)} for {left} steps",
    }
    return "\n".join(f"{name:<10} {text}" for name, text in rows.items())


def _parameters(config: TrainConfig, run: Run) -> str:
    trained, frozen = (
        sum(p.numel() for p in run.learner.module.parameters() if p.requires_grad == wanted) for wanted in (True, False)
    )
    return f"{config.model} for {config.task}: {trained:,} parameters trained, {frozen:,} frozen"


def _memory(run: Run) -> str:
    """Of one process: what is known by counting, and the most that was in use."""
    optimizer = [v for state in run.optimizer.state.values() for v in state.values() if isinstance(v, Tensor)]
    trained = _bytes(run.average.parameters)
    counted = {
        "weights": _bytes(run.network.parameters()),
        "gradients": trained,
        "optimiser": _bytes(optimizer),
        "averages": _bytes(run.average.values),
    }
    known = ", ".join(f"{name} {_size(value)}" for name, value in counted.items())
    return f"{known}: {_size(sum(counted.values()))}; {_peak(run.accelerator.device)}"


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _peak(device: torch.device) -> str:
    """The most memory that the device, or on a CPU the process, had in use."""
    if device.type == "cuda":
        return f"peak {_size(torch.cuda.max_memory_allocated(device))} over {STEPS} steps, the model's loading aside"
    try:
        import resource
    except ImportError:  # Windows
        return "peak not measured here"
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return f"peak {_size(peak)} of the whole process, after {STEPS} steps"


def _size(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:.1f} h" if hours >= 2 else f"{minutes:.1f} min" if minutes >= 2 else f"{seconds:.0f} s"
