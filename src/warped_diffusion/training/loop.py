"""The training loop, on accelerate: as many processes as it was launched in, one trajectory.

Everything random follows from the seed and a sample's number, so the number of processes and of parts changes the last
bits of sums only, and a run that was killed goes on from its newest checkpoint as if nothing had been.
"""

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from warped_diffusion.training import checkpoints
from warped_diffusion.training.config import TrainConfig
from warped_diffusion.training.data import Samples
from warped_diffusion.training.learner import Batch
from warped_diffusion.training.log import BadPictures, Log
from warped_diffusion.training.parts import make_parts, share
from warped_diffusion.training.pictures import Pictures, open_pictures
from warped_diffusion.training.run import Run, Step, make_accelerator
from warped_diffusion.training.validation import Validation

if TYPE_CHECKING:
    from accelerate import Accelerator

Report = Callable[[int, int, float, float], None]
"""Called after every step with (step, steps, loss, seconds a step); the loss of a skipped step need not be finite."""


def train(config: TrainConfig, report: Report = lambda *_: None, say: Callable[[str], None] = lambda _: None) -> Path:
    """Trains, or goes on where the run in `config.out` stopped; returns what `restore --model` takes.

    To be called in every process of a run; only the main one reports and writes what people read.

    Args:
        report: told of every step.
        say: given sentences about the run: where it goes on, what was skipped.
    Raises: UserError if the pictures or the model are missing, if the batch cannot be divided among the processes, if
        the newest checkpoint is of another model, or if step after step has no finite loss.
    """
    accelerator = make_accelerator(config)
    main, out = accelerator.is_main_process, Path(config.out)
    pictures, run = begin(config, accelerator)
    validation = Validation(config) if config.validate_every else None
    last = checkpoints.newest(out)
    if last is not None:
        run.resume(last)
        if main:
            say(f"going on from {last}")
    out.mkdir(parents=True, exist_ok=True)
    bad = BadPictures(out / "bad-pictures.txt")
    left = config.steps - run.step
    parts = bad.noted(make_parts(Samples(pictures, config), config, accelerator, run.samples, left))
    with Log(out, run.step, main) as log:
        for step, seconds in steps(run, parts):
            log.step(run.step, step, seconds, run.skipped)
            if main:
                report(run.step, config.steps, step.loss, seconds)
            if validation and run.step % config.validate_every == 0:
                log.validation(run.step, *validation.look(run))
            if run.step % config.checkpoint_every == 0 or run.step == config.steps:
                log.flush()
                with checkpoints.writing(out, run.step, config.keep, main, accelerator.wait_for_everyone) as folder:
                    run.save(folder)
    if main and run.skipped:
        say(f"{run.skipped} of {run.step} steps had no finite loss and gradient, and were skipped")
    if main and bad.count():
        say(f"{bad.count()} pictures could not be used: {bad.path} says which and why")
    return run.export(out, {"pictures": pictures.describe()})


def begin(config: TrainConfig, accelerator: "Accelerator") -> tuple[Pictures, Run]:
    """What a run needs, before its first step.   Raises: UserError if it cannot be had."""
    share(config, accelerator)
    pictures = open_pictures(config.pictures)
    torch.set_num_threads(config.threads)
    return pictures, Run(config, accelerator)


def steps(run: Run, parts: Iterator[Batch]) -> Iterator[tuple[Step, float]]:
    """Takes the steps that are left; yields what came of each and its seconds, those of waiting for data included."""
    while run.step < run.config.steps:
        started = time.perf_counter()
        step = run.advance(islice(parts, run.config.accumulate))
        yield step, time.perf_counter() - started
