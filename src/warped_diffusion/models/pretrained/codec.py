"""Pictures to latents and back by a variational autoencoder."""

from typing import Any

import torch
from torch import Tensor


class AutoencoderCodec:
    """A diffusers `AutoencoderKL` as a `Codec`, its latents scaled and shifted as its config says.

    z = (encoded - shift) scale, or (encoded - mean) scale / deviation where the config gives them per channel. It works
    in its own precision; latents and pictures are float32.
    """

    def __init__(self, vae: Any) -> None:
        config = vae.config
        self.vae = vae
        self.channels: int = config.latent_channels
        self.factor = 2 ** (len(config.block_out_channels) - 1)
        mean, deviation = config.get("latents_mean"), config.get("latents_std")
        shift, scale = config.get("shift_factor") or 0.0, config.scaling_factor
        self._shift = torch.tensor([shift] if mean is None else mean)[:, None, None]
        self._scale = torch.tensor([scale] if deviation is None else [scale / d for d in deviation])[:, None, None]

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """The posterior's mode: (B, 3, H, W) in [-1, 1] -> (B, C, H / factor, W / factor), sides multiples of it."""
        encoded = self.vae.encode(pictures.to(self.vae.dtype)).latent_dist.mode().float()
        return (encoded - self._shift.to(encoded)) * self._scale.to(encoded)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 3, h factor, w factor) in [-1, 1]."""
        encoded = latents / self._scale.to(latents) + self._shift.to(latents)
        return self.vae.decode(encoded.to(self.vae.dtype), return_dict=False)[0].float().clamp(-1, 1)
