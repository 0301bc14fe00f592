"""Checkpoints of every supported family, tiny and with random weights, made by diffusers' own classes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionUpscalePipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TOKENS = 16
"""A prompt's length in tokens, two of which are its ends."""

WIDTH = 32

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
"""Stable Diffusion's."""


def tokenizer() -> CLIPTokenizer:
    """One token a letter; within a word and at its end they differ."""
    words = [*LETTERS, *(letter + "</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=TOKENS)


def text_encoder(seed: int, projected: bool = False) -> CLIPTextModel | CLIPTextModelWithProjection:
    config = CLIPTextConfig(
        vocab_size=2 * len(LETTERS) + 2,
        hidden_size=WIDTH,
        projection_dim=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=2 * len(LETTERS),
        eos_token_id=2 * len(LETTERS) + 1,
        pad_token_id=2 * len(LETTERS) + 1,
    )
    torch.manual_seed(seed)
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def vae(channels: int = 4, levels: int = 2, **config: Any) -> AutoencoderKL:
    """Pixels per cell along an axis: 2 ** (levels - 1)."""
    torch.manual_seed(2)
    kind = {"down_block_types": ("DownEncoderBlock2D",) * levels, "up_block_types": ("UpDecoderBlock2D",) * levels}
    shape = {"block_out_channels": (8,) * levels, "norm_num_groups": 4, "layers_per_block": 1}
    return AutoencoderKL(latent_channels=channels, **kind, **shape, **config)


def unet(in_channels: int, tokens: int = WIDTH, **config: Any) -> UNet2DConditionModel:
    torch.manual_seed(3)
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
        norm_num_groups=8,
        cross_attention_dim=tokens,
        **config,
    )


def xl_unet(in_channels: int) -> UNet2DConditionModel:
    """Told two encoders' tokens, a pooled embedding and six numbers of the frame's size."""
    added = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    return unet(in_channels, 2 * WIDTH, projection_class_embeddings_input_dim=6 * 8 + WIDTH, **added)


def euler(prediction: str = "epsilon") -> EulerDiscreteScheduler:
    return EulerDiscreteScheduler(timestep_spacing="leading", steps_offset=1, prediction_type=prediction, **BETAS)


def sd(kind: type[DiffusionPipeline], in_channels: int, prediction: str = "epsilon") -> DiffusionPipeline:
    return kind(
        vae=vae(scaling_factor=0.18215),
        text_encoder=text_encoder(0),
        tokenizer=tokenizer(),
        unet=unet(in_channels),
        scheduler=euler(prediction),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl(kind: type[DiffusionPipeline], in_channels: int) -> DiffusionPipeline:
    return kind(
        vae=vae(scaling_factor=0.13025),
        text_encoder=text_encoder(0),
        text_encoder_2=text_encoder(1, projected=True),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        unet=xl_unet(in_channels),
        scheduler=euler(),
    )


def upscaler() -> DiffusionPipeline:
    # so little noise on the input that the pipeline, which adds some, can be compared with
    silent = DDPMScheduler(beta_start=1e-14, beta_end=1e-14)
    return StableDiffusionUpscalePipeline(
        vae=vae(levels=3, scaling_factor=0.08333),
        text_encoder=text_encoder(0),
        tokenizer=tokenizer(),
        unet=unet(7, num_class_embeds=1000),
        low_res_scheduler=silent,
        scheduler=euler("v_prediction"),
    )


def sd3() -> DiffusionPipeline:
    torch.manual_seed(4)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=16,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=WIDTH * 2,
        caption_projection_dim=32,
        pooled_projection_dim=2 * WIDTH,
        out_channels=16,
        pos_embed_max_size=32,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(16, scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=text_encoder(0, projected=True),
        tokenizer=tokenizer(),
        text_encoder_2=text_encoder(1, projected=True),
        tokenizer_2=tokenizer(),
        text_encoder_3=None,
        tokenizer_3=None,
    )


FAMILIES: dict[str, Callable[[], DiffusionPipeline]] = {
    "sd": lambda: sd(StableDiffusionPipeline, 4),
    "sd-v": lambda: sd(StableDiffusionPipeline, 4, "v_prediction"),
    "sd-x": lambda: sd(StableDiffusionPipeline, 4, "sample"),
    "sdxl": lambda: sdxl(StableDiffusionXLPipeline, 4),
    "sd-inpainting": lambda: sd(StableDiffusionInpaintPipeline, 9),
    "sdxl-inpainting": lambda: sdxl(StableDiffusionXLInpaintPipeline, 9),
    "sd-concatenated": lambda: sd(StableDiffusionPipeline, 8),
    "sdxl-concatenated": lambda: sdxl(StableDiffusionXLPipeline, 8),
    "upscaler": upscaler,
    "sd3": sd3,
}


def save_checkpoint(family: str, folder: Path) -> Path:
    """A checkpoint of that family in `folder`, in diffusers' format; the caller's random state stays as it is."""
    with torch.random.fork_rng():
        FAMILIES[family]().save_pretrained(folder)
    return folder
