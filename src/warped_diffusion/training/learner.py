"""What the training loop asks of a family of models."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from warped_diffusion.training.config import TrainConfig

Batch = Mapping[str, Any]
"""What `Samples` makes, on the learner's device: tensors whose first dimension is the item, and lists of texts."""


class Learner(Protocol):
    """A network, what is asked of it, and what becomes of it.

    The loop wraps `module` for the number of processes and hands the wrapped network back: call that, with the
    module's own arguments. What a batch leaves to chance is drawn from the seeds in it, so that neither the number of
    processes nor a restart changes it. Parameters that require a gradient are trained, in float32.
    """

    @property
    def module(self) -> nn.Module:
        """What is trained, on its device."""
        ...

    def errors(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of each item the error, weighted by its level, 1 where nothing is learned, and its weight: (B,), (B,) >= 0.

        The loss is sum(e w) / sum(w) over all items of a step, those of other processes included.
        """
        ...

    def shown(self, network: nn.Module, batch: Batch) -> Tensor:
        """Input | one-step estimate | truth side by side: (B, 3, H, 3 W) in [0, 1]."""
        ...

    def export(self, averaged: Mapping[str, Tensor], folder: Path, about: Mapping[str, object]) -> Path:
        """Writes the model for restoring with; `averaged` are the trained parameters by `module`'s names.

        `about` holds "steps", the optimiser steps taken, "samples", the crops seen, and "pictures", what they were of.
        Returns: what `restore --model` takes.
        """
        ...


def make_learner(config: TrainConfig, device: torch.device) -> Learner:
    """The learner for `config.model`, on `device`.   Raises: UserError if there is no such model."""
    if config.model == "embedded":
        from warped_diffusion.training.embedded_learner import EmbeddedLearner

        return EmbeddedLearner(config, device)
    from warped_diffusion.training.pretrained_learner import PretrainedLearner

    return PretrainedLearner(config, device)
