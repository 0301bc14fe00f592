"""Small variants of the presets for pretrained models, one picture to train on, and a plain loop."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from warped_diffusion.masks import random_masks
from warped_diffusion.noise import SPECTRA
from warped_diffusion.tasks import make_task
from warped_diffusion.training import TrainConfig, read_config
from warped_diffusion.training.pretrained_learner import PretrainedLearner

CPU = torch.device("cpu")
SIDE = 16
PRESETS = ("sdxl-sr8-paper", "sdxl-inpaint-paper", "sdxl-sr8-lora-24gb")
ROUNDING = {"rtol": 0, "atol": 1e-5}
"""float32 in another order, through a tiny network whose outputs are of size 1."""


def tiny(model: Path, preset: str = "sdxl-sr8-paper", **changes: object) -> TrainConfig:
    """A preset's small variant: a tiny checkpoint, small crops, a rate that shows in few steps."""
    small = {"model": str(model), "crop": SIDE, "batch": 2, "accumulate": 1, "precision": "no", "threads": 1}
    small |= {"rate": 3e-3, "pictures": "none", "out": "nowhere", "prompt_drop": 0.0, "gradient_checkpointing": False}
    if "lora" in preset:
        small |= {"lora_rank": 4, "lora_alpha": 4.0, "rate": 1e-2}
    return read_config(preset, **small | changes)


def learner(model: Path, preset: str = "sdxl-sr8-paper", **changes: object) -> PretrainedLearner:
    return PretrainedLearner(tiny(model, preset, **changes), CPU)


def picture() -> Tensor:
    """(3, SIDE, SIDE) in [0, 1]: smooth shapes."""
    low = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(low, (SIDE, SIDE), mode="bicubic").clamp(0, 1)[0]


def batch(config: TrainConfig, seeds: Sequence[int] = (1, 2), captions: Sequence[str] = ()) -> dict[str, Any]:
    """One picture as often as there are seeds, as `Samples` hands it to a learner."""
    pictures = picture().repeat(len(seeds), 1, 1, 1)
    task = make_task(config.task, config.scales[0] if config.task == "super-resolution" else None)
    masks = None
    if task.takes_mask:
        masks = random_masks(len(seeds), (SIDE, SIDE), np.random.default_rng(0))
    told = task.condition(task.degrade(pictures, masks), masks)
    return {
        "clean": pictures * 2 - 1,
        **told,
        "spectrum": torch.full((len(seeds),), list(SPECTRA).index(config.spectra[0])),
        "noise_seed": torch.tensor(seeds),
        "caption": list(captions or ["a cat"] * len(seeds)),
    }


def loss(made: PretrainedLearner, given: dict[str, Any]) -> Tensor:
    error, weight = made.errors(made.module, given)
    return (error * weight).sum() / weight.sum()


def trained(made: PretrainedLearner) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in made.module.named_parameters() if p.requires_grad}


def fit(made: PretrainedLearner, steps: int) -> tuple[float, float]:
    """A plain loop; the loss on questions that are not trained on, before and after."""
    asked = batch(made.config, range(1000, 1008))
    with torch.no_grad():
        before = float(loss(made, asked))
    parameters = [p for p in made.module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=made.config.rate)
    for step in range(steps):
        optimizer.zero_grad()
        loss(made, batch(made.config, (2 * step, 2 * step + 1))).backward()
        optimizer.step()
    with torch.no_grad():
        return before, float(loss(made, asked))
