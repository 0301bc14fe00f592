"""The autoencoder's scaling, against diffusers' own pipelines and by hand."""

import pytest
import torch
from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline, StableDiffusionXLPipeline

from tests.models.pretrained.checkpoints import FAMILIES, sdxl, vae
from tests.models.tiny import randn
from warped_diffusion.models.pretrained.codec import AutoencoderCodec

PICTURES = (randn(2, 3, 16, 24) / 2).clamp(-1, 1)

CLOSE = {"rtol": 0, "atol": 1e-5}


def of_mean_and_deviation() -> StableDiffusionXLPipeline:
    """As in some checkpoints of SDXL's kind, whose latents are normalised one channel at a time."""
    pipe = sdxl(StableDiffusionXLPipeline, 4)
    pipe.vae.register_to_config(latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.5, 0.5, 2.0, 1.0])
    return pipe


@torch.no_grad()
@pytest.mark.parametrize("make", [FAMILIES["sd"], FAMILIES["sd3"], of_mean_and_deviation])
def test_latents_decode_as_the_pipeline_decodes_them(make):
    pipe = make()
    pipe.set_progress_bar_config(disable=True)
    codec = AutoencoderCodec(pipe.vae)
    call = {"prompt": "a", "num_inference_steps": 1, "height": 16, "width": 24, "guidance_scale": 1.0}
    call["latents"] = randn(1, codec.channels, 8, 12)
    assert isinstance(pipe, (StableDiffusionPipeline, StableDiffusionXLPipeline, StableDiffusion3Pipeline))
    latents = pipe(output_type="latent", **call).images
    pictures = pipe(output_type="pt", **call).images
    torch.testing.assert_close((codec.decode(latents) + 1) / 2, pictures, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("make", [FAMILIES["sd"], FAMILIES["sd3"], of_mean_and_deviation])
def test_encoding_undoes_what_decoding_does_before_the_network(make):
    pipe = make()
    codec = AutoencoderCodec(pipe.vae)
    latents = codec.encode(PICTURES)
    assert latents.shape == (2, codec.channels, 8, 12)
    decoded = pipe.vae.decode(pipe.vae.encode(PICTURES).latent_dist.mode()).sample.clamp(-1, 1)
    torch.testing.assert_close(codec.decode(latents), decoded, **CLOSE)
    assert torch.equal(latents, codec.encode(PICTURES))


def test_the_factor_is_one_halving_for_each_level_but_one():
    assert AutoencoderCodec(vae(levels=3)).factor == 4
    assert AutoencoderCodec(vae(levels=4)).factor == 8
