"""The training loop: one optimiser, averaged weights, checkpoints that a killed run goes on from.

The noise of each crop has the covariance of its spectrum, and the network learns E[u_0 | u] under it, so the same
weights serve white noise and the paper's Gaussian process.   [paper, eq. 9]
"""

import json
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format

from warped_diffusion.diffusion import precondition
from warped_diffusion.errors import UserError
from warped_diffusion.models import embedded
from warped_diffusion.models.embedded import EmbeddedDenoiser
from warped_diffusion.training.config import TrainConfig
from warped_diffusion.training.data import Batch, Samples, collate, condition_of, draw_noise
from warped_diffusion.training.pictures import open_pictures

Report = Callable[[int, int, float, float], None]
"""Called after every step with (step, steps, loss, seconds a step)."""


def train(config: TrainConfig, report: Report = lambda *_: None) -> Path:
    """Trains the embedded network, or goes on where the run in `config.out` stopped; returns the weights' path.

    Raises: UserError if the pictures are missing.
    """
    samples = Samples(open_pictures(config.pictures), config)
    torch.set_num_threads(config.threads)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    run = Run(config)
    run.resume(out / "checkpoint.pt")
    trim_log(out / "loss.jsonl", run.step)
    with ThreadPoolExecutor(1) as ahead, open(out / "loss.jsonl", "a") as log:
        coming = ahead.submit(make_batch, samples, run.step)
        while run.step < config.steps:
            started, batch = time.perf_counter(), coming.result()
            coming = ahead.submit(make_batch, samples, run.step + 1)
            loss = run.advance(batch)
            seconds = time.perf_counter() - started
            log.write(json.dumps({"step": run.step, "loss": round(loss, 5), "seconds": round(seconds, 3)}) + "\n")
            report(run.step, config.steps, loss, seconds)
            if run.step % config.checkpoint_every == 0 or run.step == config.steps:
                log.flush()
                run.keep(out / "checkpoint.pt")
                run.export(out / "weights.safetensors")
    return out / "weights.safetensors"


def make_batch(samples: Samples, step: int) -> Batch:
    """The batch of one step."""
    groups = samples.config.batch // samples.config.group
    return collate([samples[group] for group in range(step * groups, (step + 1) * groups)])


class Run:
    """The state of a training run: the network, its averaged copy, the optimiser and the number of steps taken."""

    def __init__(self, config: TrainConfig) -> None:
        torch.manual_seed(config.seed)
        self.config, self.step = config, 0
        self.denoiser = EmbeddedDenoiser(config.network, config.task)
        convert_conv2d_weight_memory_format(self.denoiser, torch.channels_last)
        if config.warm_start:
            embedded.take_over(self.denoiser, Path(config.warm_start))
        self.average = EmbeddedDenoiser(config.network, config.task)
        self.average.load_state_dict(self.denoiser.state_dict())
        self.optimizer = torch.optim.AdamW(self.denoiser.parameters(), betas=config.betas, weight_decay=0.01)

    def advance(self, batch: Batch) -> float:
        """One optimiser step on the batch; returns its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate * rate_factor(self.config, self.step)
        loss = denoising_loss(self.denoiser, batch, self.config.bf16)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.denoiser.parameters(), self.config.clip)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.step += 1
        decay = min(self.config.ema, 1 - 10 / (self.step + 10))
        with torch.no_grad():
            pairs = zip(self.average.parameters(), self.denoiser.parameters(), strict=True)
            for mean, value in pairs:
                mean.lerp_(value, 1 - decay)
        return loss.item()

    def keep(self, path: Path) -> None:
        """Writes the checkpoint beside `path` and moves it into place, so that a kill leaves the old one or the new."""
        state = {name: getattr(self, name).state_dict() for name in ("denoiser", "average", "optimizer")}
        torch.save(state | {"step": self.step}, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)

    def resume(self, path: Path) -> None:
        """Takes up the checkpoint at `path`, if there is one."""
        if path.is_file():
            state = torch.load(path, weights_only=True)
            self.step = state["step"]
            try:
                for name in ("denoiser", "average", "optimizer"):
                    getattr(self, name).load_state_dict(state[name])
            except (KeyError, RuntimeError, ValueError) as error:
                raise UserError(f"{path} is of a run with another network or task: give another --out") from error

    def export(self, path: Path) -> None:
        """Writes the averaged weights; task, spectra and parameterisation stand in the file's metadata."""
        about = {"parameterisation": "edm residual", "steps": self.step} | {
            name: value for name, value in asdict(self.config).items() if name not in ("pictures", "out", "warm_start")
        }
        embedded.save(self.average, path, about)


def denoising_loss(denoiser: EmbeddedDenoiser, batch: Batch, bf16: bool) -> Tensor:
    """Mean over the batch of |h - u_0|^2 / c_out^2, 1 if nothing is learned.   [paper, eq. 9; EDM, eq. 8]

    Where sigma_data is 0 there is nothing to learn: an item's error is the mean over its other pixels. Items count by
    the square root of that area, in between counting holes and counting pixels: a mean over few pixels is a noisy
    guide, but large holes shall not have the only say.
    """
    condition, clean = condition_of(batch), batch["clean"]
    s_data = denoiser.conditioning.sigma_data(condition)
    sigma = batch["relative_sigma"] * denoiser.conditioning.unit(condition)
    s = sigma[:, None, None, None]
    noisy = clean + s * draw_noise(batch, clean.shape)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        denoised = denoiser(noisy, sigma, condition)
    missing = s_data > 0
    weight = precondition.loss_weight(s, s_data.where(missing, 1)) * missing
    error = ((denoised - clean).square() * weight).mean((1, 2, 3))
    area = missing.float().mean((1, 2, 3))
    return (error / area * area.sqrt()).sum() / area.sqrt().sum()


def trim_log(path: Path, step: int) -> None:
    """Leaves the lines of the loss log up to `step`: a killed run may have written more, the last one in part."""
    if path.is_file():
        lines = path.read_text().splitlines(keepends=True)
        whole = (line for line in lines if line.startswith("{") and line.endswith("}\n"))
        kept = [line for line in whole if json.loads(line)["step"] <= step]
        path.with_suffix(".part").write_text("".join(kept))
        os.replace(path.with_suffix(".part"), path)


def rate_factor(config: TrainConfig, step: int) -> float:
    """Rises over `warmup` steps, then holds, then falls as a cosine over the last `cooldown` share of the run."""
    rise = min(1.0, (step + 1) / config.warmup)
    left = (config.steps - step) / max(1.0, config.cooldown * config.steps)
    return rise * (0.5 - 0.5 * math.cos(math.pi * min(1.0, max(0.0, left))))
