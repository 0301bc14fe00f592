"""A pretrained network behind the denoiser contract: its coordinates, its prompt, classifier-free guidance."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from warped_diffusion.diffusion.contract import Condition
from warped_diffusion.models.pretrained.parameterisation import Parameterisation


@dataclass(frozen=True, eq=False)
class Text:
    """Encoded prompts.

    Attributes:
        tokens: (B, L, D), one embedding a token.
        pooled: (B, P), one a prompt, for networks that take it.
    """

    tokens: Tensor
    pooled: Tensor | None = None

    def repeated(self, count: int) -> "Text":
        """One prompt for `count` items."""
        pooled = None if self.pooled is None else self.pooled.expand(count, -1)
        return Text(self.tokens.expand(count, -1, -1), pooled)

    def followed_by(self, other: "Text") -> "Text":
        """Both in one batch."""
        pooled = None if self.pooled is None or other.pooled is None else torch.cat([self.pooled, other.pooled])
        return Text(torch.cat([self.tokens, other.tokens]), pooled)


class Network(Protocol):
    """A bare network. What it predicts of x_t, (B, C + shown, h, w), at times (B,): (B, C, h, w)."""

    def __call__(self, x: Tensor, time: Tensor, text: Text) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class UNet:
    """A diffusers `UNet2DConditionModel`.

    Attributes:
        unet: the module.
        factor: pixels per latent cell; SDXL is told the frame's size, as that of the picture and of its original.
        noise_level: the class label of networks that are told how noisy the picture beside them is; None for others.
    """

    unet: Any
    factor: int
    noise_level: int | None = None

    def __call__(self, x: Tensor, time: Tensor, text: Text) -> Tensor:
        told: dict[str, Any] = {}
        if text.pooled is not None:
            height, width = (side * self.factor for side in x.shape[-2:])
            sizes = time.new_tensor([height, width, 0, 0, height, width]).expand(len(x), -1)
            told["added_cond_kwargs"] = {"text_embeds": text.pooled, "time_ids": sizes}
        if self.noise_level is not None:
            told["class_labels"] = torch.full_like(time, self.noise_level, dtype=torch.long)
        x = x.to(self.unet.dtype)
        return self.unet(x, time, encoder_hidden_states=text.tokens, return_dict=False, **told)[0]


@dataclass(frozen=True, eq=False)
class Transformer:
    """A diffusers `SD3Transformer2DModel`."""

    transformer: Any

    def __call__(self, x: Tensor, time: Tensor, text: Text) -> Tensor:
        return self.transformer(
            hidden_states=x.to(self.transformer.dtype),
            timestep=time,
            encoder_hidden_states=text.tokens,
            pooled_projections=text.pooled,
            return_dict=False,
        )[0]


@dataclass(frozen=True, eq=False)
class PretrainedDenoiser:
    """`Denoiser`'s contract over a network, in the network's own space: latents, mostly.

    Attributes:
        network: what predicts, in its own precision. It records gradients where they are asked for.
        parameterisation: its coordinates.
        prompt: of one item.
        negative: what to steer away from, of one item: the prediction is negative + cfg (prompt - negative), both from
            one batch. None to ask once.
        cfg: weight of that guidance.

    The condition may hold `shown`, (B, K, h, w): the channels that the network sees beside the noisy ones.
    """

    network: Network
    parameterisation: Parameterisation
    prompt: Text
    negative: Text | None = None
    cfg: float = 1.0

    def __call__(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """(B, C, h, w), (B,) -> (B, C, h, w) float32."""
        s = sigma[:, None, None, None]
        x = noisy * self.parameterisation.scale(s)
        if "shown" in condition:
            x = torch.cat([x, condition["shown"]], 1)
        prediction = self.predict(x, self.parameterisation.time(sigma))
        return self.parameterisation.denoised(noisy, s, prediction)

    def predict(self, x: Tensor, time: Tensor) -> Tensor:
        """The network's prediction, guided by the prompt: (B, C + K, h, w), (B,) -> (B, C, h, w) float32."""
        text = self.prompt.repeated(len(x))
        if self.negative is None:
            return self.network(x, time, text).float()
        text = self.negative.repeated(len(x)).followed_by(text)
        away, towards = self.network(torch.cat([x, x]), torch.cat([time, time]), text).float().chunk(2)
        return away + self.cfg * (towards - away)
