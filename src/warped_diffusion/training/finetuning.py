"""A text-to-image UNet made into one that restores: what it is shown beside noisy latents, what of it learns."""

from typing import Any

import torch
from torch import Tensor, nn

from warped_diffusion.errors import UserError
from warped_diffusion.models.precision import best_dtype
from warped_diffusion.models.pretrained.checkpoint import open_checkpoint
from warped_diffusion.models.pretrained.denoiser import Text, UNet
from warped_diffusion.models.pretrained.loading import check_outputs, check_trained
from warped_diffusion.models.pretrained.options import PretrainedOptions
from warped_diffusion.tasks import TASKS
from warped_diffusion.training.config import TrainConfig

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
"""The projections that low-rank weights are added to, in diffusers' names."""


class Predictor(nn.Module):
    """The UNet as a module that takes tensors alone, so that a wrapper for many processes can call it."""

    def __init__(self, unet: Any, factor: int) -> None:
        super().__init__()
        self.unet, self.factor = unet, factor

    def forward(self, x: Tensor, time: Tensor, tokens: Tensor, pooled: Tensor | None) -> Tensor:
        """(B, C + shown, h, w), (B,), (B, L, D), (B, P) or None -> what it predicts of x, (B, C, h, w) float32."""
        return UNet(self.unet, self.factor)(x, time, Text(tokens, pooled)).float()


def open_to_train(config: TrainConfig, device: torch.device) -> tuple[Any, Any]:
    """The checkpoint's pipeline and its UNet, shaped for the task; what is trained asks for gradients, in float32.

    What is not trained is in the precision of the run, but for an autoencoder that needs more.
    Raises: UserError as `open_checkpoint`, and for a checkpoint that is no UNet or was made for something else.
    """
    kept = frozen_dtype(config, device)
    opened = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[kept if config.lora_rank else FULL]
    pipe, unet = open_checkpoint(config.model, device, PretrainedOptions(dtype=opened))
    for name, part in pipe.components.items():
        if name.startswith("text_encoder") and part is not None:
            part.to(kept)
    check(config, pipe, unet)
    shape(unet, config)
    if config.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    return pipe, unet


FULL = torch.float32
"""What is trained: steps of 5e-6 of a weight are lost in half precision."""


def frozen_dtype(config: TrainConfig, device: torch.device) -> torch.dtype:
    """Of what is not trained: the precision of the run."""
    chosen = {"no": FULL, "bf16": torch.bfloat16, "fp16": torch.float16}
    return chosen[config.precision] if config.precision in chosen else best_dtype(device)


def check(config: TrainConfig, pipe: Any, unet: Any) -> None:
    """Raises UserError for a checkpoint that cannot be fine-tuned to the task of this run."""
    source, latent = config.model, pipe.vae.config.latent_channels
    if not hasattr(unet, "conv_in"):
        raise UserError(
            f"{source} is a {type(pipe).__name__}, whose network is no UNet: fine-tuning knows Stable Diffusion and "
            "SDXL, give one of those"
        )
    check_trained(source, unet.config, config.task, scale_of(config))
    check_outputs(source, unet.config, latent)
    there, wanted = unet.config.in_channels, channels(config, latent)
    labelled = unet.config.class_embed_type is not None or bool(unet.config.num_class_embeds)
    if labelled or there not in (latent, wanted):
        kind = " and is told a class" if labelled else ""
        raise UserError(
            f"{source} takes {there} channels{kind}, so it was made for another task: to fine-tune for {config.task} "
            f"give a text-to-image model, which takes {latent}, or one that takes {wanted}"
        )


def scale_of(config: TrainConfig) -> int | None:
    """The factor of a super-resolution run; None for other tasks."""
    return config.scales[0] if config.task == "super-resolution" else None


def channels(config: TrainConfig, latent: int) -> int:
    """What a network for the task takes: noisy latents, latents of the input, and a mask where the task has one."""
    return 2 * latent + TASKS[config.task].takes_mask


def shape(unet: Any, config: TrainConfig) -> None:
    """Widens the UNet for the task and chooses what is trained: everything, or low-rank weights and `conv_in`.

    What is trained is in float32.
    """
    widen(unet, channels(config, unet.config.out_channels))
    if not config.lora_rank:
        unet.requires_grad_(True)
        return
    from peft import LoraConfig

    layers = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha or config.lora_rank,
        target_modules=list(ATTENTION),
    )
    devices = [unet.device] if unet.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(config.seed)
        unet.add_adapter(layers)
    unet.conv_in.requires_grad_(True)
    for parameter in unet.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(FULL)


def widen(unet: Any, count: int) -> None:
    """Lets the UNet take `count` channels. Weights of new ones are zero, so that it predicts what it did before."""
    old = unet.conv_in
    if old.in_channels == count:
        return
    new = nn.Conv2d(count, old.out_channels, old.kernel_size, old.stride, old.padding, device="meta")
    weight = old.weight.new_zeros(old.out_channels, count, *old.kernel_size)
    weight[:, : old.in_channels] = old.weight.detach()
    new.load_state_dict({"weight": weight, "bias": old.bias.detach()}, assign=True)
    unet.conv_in = new
    unet.register_to_config(in_channels=count)
