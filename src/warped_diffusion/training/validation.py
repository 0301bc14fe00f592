"""A look at held-out pictures from time to time, always the same pieces under the same noise."""

import torch
from torch import Tensor

from warped_diffusion.training.config import TrainConfig
from warped_diffusion.training.data import Samples
from warped_diffusion.training.parts import numbers
from warped_diffusion.training.pictures import open_pictures
from warped_diffusion.training.run import Run, to_device

SHOWN = 4
"""Pieces of which pictures are kept."""


class Validation:
    """One global batch of held-out samples, whatever the number of processes.

    Raises: UserError if nothing is held out.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.samples = Samples(open_pictures(config.pictures, "held-out"), config)

    @torch.no_grad()
    def look(self, run: Run) -> tuple[float, Tensor]:
        """The averaged network's loss, over all processes, and this one's first pieces, one below the other.

        Returns: the loss, and (3, N H, 3 W) in [0, 1], input | one-step estimate | truth.
        """
        accelerator, network, total, shown = run.accelerator, run.network, [], torch.empty(0)
        was = network.training
        network.eval()
        with run.averaged():
            for which in numbers(run.config, accelerator, 0, 1):
                batch = to_device(self.samples.samples(which), accelerator.device)
                errors, weights = run.learner.errors(network, batch)
                total.append(torch.stack([(errors * weights).sum(), weights.sum()]))
                if not len(shown):
                    few = {name: values[:SHOWN] for name, values in batch.items()}
                    shown = run.learner.shown(network, few).float().cpu()
        network.train(was)
        of_errors, of_weights = accelerator.reduce(torch.stack(total).sum(0), "sum").tolist()
        return of_errors / of_weights, torch.cat(list(shown), 1)
