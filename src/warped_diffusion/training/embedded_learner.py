"""The embedded networks as the training loop sees them.

The noise of each crop has the covariance of its spectrum, and the network learns E[u_0 | u] under it, so the same
weights serve white noise and the paper's Gaussian process.   [paper, eq. 9]
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from warped_diffusion.diffusion import precondition
from warped_diffusion.models import embedded
from warped_diffusion.models.embedded import EmbeddedDenoiser
from warped_diffusion.training.config import TrainConfig
from warped_diffusion.training.data import condition_of, draw_noise, spectra_of
from warped_diffusion.training.learner import Batch
from warped_diffusion.training.whitening import mean_square

PRIVATE = ("pictures", "out", "warm_start", "cache")
"""Settings that name a reader's folders and are nobody's business."""


class EmbeddedLearner:
    """`Learner` of the embedded networks: all parameters are trained, the model is one file.

    Raises: UserError if the weights to begin with do not fit.
    """

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.config = config
        self.module = EmbeddedDenoiser(config.network, config.task)
        convert_conv2d_weight_memory_format(self.module, torch.channels_last)
        if config.warm_start:
            embedded.take_over(self.module, Path(config.warm_start))
        self.module.to(device)

    def errors(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """|h - u_0|^2 / c_out^2 of each item, 1 if nothing is learned.   [paper, eq. 9; EDM, eq. 8]

        Where sigma_data is 0 there is nothing to learn: an item's error is the mean over its other pixels. Items count
        by the square root of that area, in between counting holes and counting pixels: a mean over few pixels is a
        noisy guide, but large holes shall not have the only say.
        """
        s_data = self.module.conditioning.sigma_data(condition_of(batch))
        denoised, sigma = self._denoised(network, batch)
        missing = s_data > 0
        weight = precondition.loss_weight(sigma[:, None, None, None], s_data.where(missing, 1)) * missing
        gap = (denoised - batch["clean"]) * weight.sqrt()
        error = mean_square(gap, spectra_of(batch), self.config.whiten)
        area = missing.float().mean((1, 2, 3))
        return error / area.clamp_min(torch.finfo(area.dtype).tiny), area.sqrt()

    def shown(self, network: nn.Module, batch: Batch) -> Tensor:
        """Base picture | one-step estimate | truth: (B, 3, H, 3 W) in [0, 1]."""
        denoised, _ = self._denoised(network, batch)
        pictures = torch.cat([batch["picture"], denoised, batch["clean"]], -1)
        return (pictures / 2 + 0.5).clamp(0, 1)

    def export(self, averaged: Mapping[str, Tensor], folder: Path, about: Mapping[str, object]) -> Path:
        """Writes weights.safetensors; task, spectra and parameterisation stand in the file's metadata."""
        denoiser = EmbeddedDenoiser(self.config.network, self.config.task)
        denoiser.load_state_dict(dict(averaged), strict=False)
        settings = {name: value for name, value in asdict(self.config).items() if name not in PRIVATE}
        path = folder / "weights.safetensors"
        embedded.save(denoiser, path, settings | {"parameterisation": "edm residual", "steps": about["steps"]})
        return path

    def _denoised(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The estimate of u_0 and the noise level that it was made at: (B, 3, H, W), (B,)."""
        clean, condition = batch["clean"], condition_of(batch)
        sigma = batch["relative_sigma"] * self.module.conditioning.unit(condition)
        noise = draw_noise(batch, clean.shape, clean.device)
        return network(clean + sigma[:, None, None, None] * noise, sigma, condition), sigma
