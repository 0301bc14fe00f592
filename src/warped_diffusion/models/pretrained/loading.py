"""A pretrained checkpoint as a `Model`: what its files say, in the contract's terms."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from warped_diffusion.diffusion import Codec, TiledCodec, choose_tiling
from warped_diffusion.errors import UserError
from warped_diffusion.models.model import Model
from warped_diffusion.models.pretrained.checkpoint import open_checkpoint
from warped_diffusion.models.pretrained.codec import AutoencoderCodec
from warped_diffusion.models.pretrained.denoiser import Network, PretrainedDenoiser, Text, Transformer, UNet
from warped_diffusion.models.pretrained.options import PretrainedOptions
from warped_diffusion.models.pretrained.parameterisation import (
    PREDICTIONS,
    Discrete,
    Flow,
    Parameterisation,
    flow_sigma,
)
from warped_diffusion.models.pretrained.shown import choose_shown, nothing
from warped_diffusion.tasks import make_task

NOISE_LEVEL = 0
"""Class label of the upscaler's input: nothing is added to it, since added noise would make the frames flicker."""

FLOW_T_MAX = 0.999
"""Where sampling a flow model begins on a grid that is not its own, which begins at t = 1."""


def load_pretrained(
    source: str | Path,
    task: str,
    device: torch.device,
    options: PretrainedOptions | None = None,
    scale: int | None = None,
    tile: int | str = "auto",
) -> Model:
    """The checkpoint in a folder or of a hub name, with its prompt encoded, ready to sample a task from.

    What it was fine-tuned for may stand in its denoiser's config: `restoration_task`, a task's name, `noise_spectrum`,
    that of its noise, and `restoration_scale`, a factor; public models have none of them and know white noise.

    Args:
        scale: the factor of super-resolution; None for the task's own.
        tile: side, pixels, of the tiles that frames are encoded and decoded in (see `choose_tiling`).
    Raises: UserError if diffusers is missing, there is no such checkpoint or it holds pickles only, its family is
        unknown here, or its channels do not fit the task, or it was fine-tuned for another task or factor.
    """
    options = options or PretrainedOptions()
    pipe, module = open_checkpoint(source, device, options)
    codec: Codec = AutoencoderCodec(pipe.vae)
    native = _native(module.config, codec.factor)
    tiling = choose_tiling(tile, native, codec.factor)
    codec = codec if tiling is None else TiledCodec(codec, tiling)
    check_trained(source, module.config, task, scale)
    labelled = module.config.get("class_embed_type") is not None or bool(module.config.get("num_class_embeds"))
    shown = choose_shown(module.config.in_channels - codec.channels, task, scale, codec, labelled)
    check_outputs(source, module.config, codec.channels)
    flows = "patch_size" in module.config
    network: Network = Transformer(module) if flows else UNet(module, codec.factor, NOISE_LEVEL if labelled else None)
    noise = scheduler_noise(source, pipe.scheduler, getattr(module.config, "patch_size", 1))
    prompt, negative = _encode(pipe, options, device)
    return Model(
        PretrainedDenoiser(network, noise.parameterisation, prompt, negative, options.cfg),
        spectra=(module.config.get("noise_spectrum", "white"),),
        sigma_range=lambda _: noise.range,
        channels=codec.channels,
        codec=codec,
        prepare=shown,
        levels=noise.levels,
        multiple=codec.factor * stride(module.config),
        tile=native,
        sees_input=shown is not nothing,
    )


def _encode(pipe: Any, options: PretrainedOptions, device: torch.device) -> tuple[Text, Text | None]:
    """The prompt, and where it guides, the negative one."""
    if options.cfg > 1:
        return encode_text(pipe, options.prompt, device, options.negative_prompt)
    return encode_text(pipe, options.prompt, device)


@torch.no_grad()
def encode_text(pipe: Any, prompt: str, device: torch.device, negative: str | None = None) -> tuple[Text, Text | None]:
    """One prompt and, unless `negative` is None, what it steers away from, as the pipeline encodes them.

    An empty negative prompt is the model's own: some have embeddings of zeros for it.
    """
    third = {"prompt_2": None, "prompt_3": None} if hasattr(pipe, "text_encoder_3") else {}
    encoded = pipe.encode_prompt(
        prompt=prompt,
        device=device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=negative is not None,
        negative_prompt=negative or None,
        **third,
    )
    tokens, other, pooled, other_pooled = (*encoded, None, None)[:4]
    return Text(tokens, pooled), None if negative is None else Text(other, other_pooled)


@dataclass(frozen=True, eq=False)
class SchedulerNoise:
    """How a checkpoint's scheduler treats noise."""

    parameterisation: Parameterisation
    range: tuple[float, float]
    levels: Callable[[int, tuple[int, int]], Tensor]


def scheduler_noise(source: str | Path, scheduler: Any, patch: int = 1) -> SchedulerNoise:
    """What a checkpoint's scheduler says of its noise; `patch`: latent cells of a transformer's patch along an axis.

    Raises: UserError if its levels are neither numbered steps nor flow matching.
    """
    from diffusers import EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler

    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        return _flow_noise(scheduler, patch)
    prediction = scheduler.config.get("prediction_type", "epsilon")
    numbered = hasattr(scheduler, "alphas_cumprod") and scheduler.config.get("timestep_type", "discrete") == "discrete"
    if not numbered or prediction not in PREDICTIONS:
        kind = type(scheduler).__name__
        raise UserError(f"{source} has noise levels of a kind not known here, {kind} with prediction of {prediction!r}")
    # Whatever scheduler the checkpoint names, this one gives its levels in the contract's coordinates.
    euler = EulerDiscreteScheduler.from_config(scheduler.config)
    kept = euler.alphas_cumprod.double()
    table = ((1 - kept) / kept).sqrt()

    def levels(steps: int, size: tuple[int, int]) -> Tensor:
        euler.set_timesteps(steps)
        return euler.sigmas.double()

    return SchedulerNoise(Discrete(table, prediction), (float(table[0]), float(table[-1])), levels)


def _flow_noise(scheduler: Any, patch: int) -> SchedulerNoise:
    def levels(steps: int, size: tuple[int, int]) -> Tensor:
        shift = {}
        if scheduler.config.use_dynamic_shifting:
            shift["mu"] = _shift(scheduler.config, (size[0] // patch) * (size[1] // patch))
        scheduler.set_timesteps(steps, **shift)
        return flow_sigma(scheduler.sigmas)

    low = float(flow_sigma(torch.tensor(scheduler.sigma_min)))
    high = float(flow_sigma(torch.tensor(FLOW_T_MAX, dtype=torch.float64)))
    return SchedulerNoise(Flow(scheduler.config.num_train_timesteps), (low, high), levels)


def _shift(config: Any, tokens: int) -> float:
    """How far larger frames are shifted towards noise: linear in their tokens, through the config's two points."""
    slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
    return config.base_shift + slope * (tokens - config.base_image_seq_len)


def stride(config: Any) -> int:
    """Latent cells: what a frame's sides must be multiples of for the network to halve or patch them evenly."""
    if "patch_size" in config:
        return config.patch_size
    return 2 ** (len(config.block_out_channels) - 1)


def _native(config: Any, factor: int) -> int | None:
    """Pixels a side that it was trained with, the larger of two that differ; None if it does not say."""
    side = config.sample_size
    if side is None:
        return None
    return factor * (max(side) if isinstance(side, list | tuple) else side)


def check_trained(source: str | Path, config: Any, task: str, scale: int | None) -> None:
    """Raises UserError if the config of a denoiser says that it was fine-tuned for another task or factor."""
    trained, factor = config.get("restoration_task"), config.get("restoration_scale")
    if trained not in (None, task):
        raise UserError(f"{source} was trained for {trained}, not for {task}: give --task {trained}")
    asked = getattr(make_task(task, scale), "scale", None)
    if factor not in (None, asked):
        raise UserError(f"{source} was trained for scale {factor}, not for {asked}: give --scale {factor}")


def check_outputs(source: str | Path, config: Any, channels: int) -> None:
    """Raises UserError unless a network predicts as many channels as its latents have, and is not told its guidance."""
    if config.out_channels != channels:
        raise UserError(f"{source} predicts {config.out_channels} channels, expected the {channels} of its latents")
    if config.get("time_cond_proj_dim") is not None:
        raise UserError(f"{source} was distilled to be told its guidance (a consistency model): give one that was not")
