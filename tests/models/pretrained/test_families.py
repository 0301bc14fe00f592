"""Every family, saved by diffusers and loaded by path, against diffusers' own sampling of the same latents."""

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from tests.models.pretrained.checkpoints import FAMILIES
from tests.models.tiny import randn
from warped_diffusion.diffusion import FrameInput, NoGuidance, get_solver, sample
from warped_diffusion.models import Model, PretrainedOptions, load_model
from warped_diffusion.tasks import SuperResolution

CPU = torch.device("cpu")
STEPS = 4
PROMPT, NEGATIVE = "a cat on grass", "grey fog"
SIZE = (8, 12)
"""Of the latents."""

SAME = {"rtol": 0, "atol": 1e-4}
"""float32 through a few steps of latents of size 10."""


def load(folder, family: str, **options) -> Model:
    task = "inpainting" if "inpainting" in family else "super-resolution"
    return load_model(folder, task, CPU, PretrainedOptions(PROMPT, NEGATIVE, **options), tile="none")


def pipeline(folder, family: str) -> DiffusionPipeline:
    absent = {"text_encoder_3": None, "tokenizer_3": None} if family == "sd3" else {}
    pipe = DiffusionPipeline.from_pretrained(folder, **absent)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def task_condition(model: Model, family: str, count: int = 1) -> dict[str, Tensor]:
    """What the task says of frames whose latents have `SIZE`."""
    f = model.codec.factor
    generator = torch.Generator().manual_seed(3)
    if family == "upscaler":
        low = torch.rand(count, 3, *SIZE, generator=generator)
        return dict(SuperResolution(4).condition(low))
    condition = {"picture": torch.rand(count, 3, SIZE[0] * f, SIZE[1] * f, generator=generator) * 2 - 1}
    if "inpainting" in family:
        mask = torch.zeros(count, 1, *condition["picture"].shape[-2:])
        mask[..., 3:9, 5:14] = 1
        condition["mask"] = mask
    return condition


def arguments(model: Model, family: str, condition: dict[str, Tensor], shown: Tensor | None) -> dict:
    """What the family's own pipeline is called with beside prompt and latents."""
    f = model.codec.factor
    size = {"height": SIZE[0] * f, "width": SIZE[1] * f}
    if "inpainting" in family:
        picture = (condition["picture"] + 1) / 2
        return size | {
            "image": picture, "mask_image": condition["mask"], "masked_image_latents": shown[:, 1:], "strength": 1.0
        }  # fmt: skip
    if family == "upscaler":
        return {"image": (shown + 1) / 2, "noise_level": 0}
    return size


def literal_loop(pipe: DiffusionPipeline, latents: Tensor, shown: Tensor, cfg: float, size: tuple[int, int]) -> Tensor:
    """What diffusers' pipelines do at every step, for networks that see a picture as none of its pipelines shows it."""
    twice = cfg > 1
    encoded = pipe.encode_prompt(
        prompt=PROMPT, device=CPU, num_images_per_prompt=1, do_classifier_free_guidance=twice, negative_prompt=NEGATIVE
    )
    words, others = (torch.cat([encoded[i + 1], encoded[i]]) if twice else encoded[i] for i in (0, len(encoded) - 2))
    added = None
    if len(encoded) == 4:
        ids = torch.tensor([[*size, 0, 0, *size]], dtype=torch.float32).repeat(1 + twice, 1)
        added = {"text_embeds": others, "time_ids": ids}
    euler = pipe.scheduler
    euler.set_timesteps(STEPS)
    x = latents * euler.init_noise_sigma
    for t in euler.timesteps:
        seen = torch.cat([euler.scale_model_input(x, t), shown], 1)
        seen = torch.cat([seen, seen]) if twice else seen
        prediction = pipe.unet(seen, t, words, added_cond_kwargs=added).sample
        if twice:
            away, towards = prediction.chunk(2)
            prediction = away + cfg * (towards - away)
        x = euler.step(prediction, t, x).prev_sample
    return x


@torch.no_grad()
@pytest.mark.parametrize("cfg", [1.0, 5.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_unguided_sampling_is_diffusers_own_euler_sampling(family, cfg, checkpoint):
    model, pipe = load(checkpoint(family), family, cfg=cfg), pipeline(checkpoint(family), family)
    condition = task_condition(model, family)
    prepared = model.prepare(condition)
    shown = prepared.get("shown")
    latents = randn(1, model.channels, *SIZE)
    if "concatenated" in family:
        pixels = SIZE[0] * model.codec.factor, SIZE[1] * model.codec.factor
        expected = literal_loop(pipe, latents, shown, cfg, pixels)
    else:
        called = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "guidance_scale": cfg, "num_inference_steps": STEPS}
        told = arguments(model, family, condition, shown)
        expected = pipe(latents=latents.clone(), output_type="latent", **called, **told).images
    levels = model.levels(STEPS, SIZE)
    # diffusers begins from noise of its scheduler's own deviation, which may differ from the first level
    first = float(levels[0]) if family == "sd3" else float(pipe.scheduler.init_noise_sigma)
    frame = FrameInput(latents[0] * (first / float(levels[0])), {name: value[0] for name, value in prepared.items()})
    (state,) = sample(model.denoiser, [frame], levels, get_solver("euler"), NoGuidance())
    assert expected.std() > 0.1
    torch.testing.assert_close(state, expected[0], **SAME)


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_items_of_a_batch_do_not_see_one_another(family, checkpoint):
    model = load(checkpoint(family), family)
    prepared = model.prepare(task_condition(model, family, 3))
    sigma = torch.tensor([0.1, 2.0, 9.0])
    u = sigma[:, None, None, None] * randn(3, model.channels, *SIZE)
    alone = [
        model.denoiser(u[i : i + 1], sigma[i : i + 1], {name: value[i : i + 1] for name, value in prepared.items()})
        for i in range(3)
    ]
    together = model.denoiser(u, sigma, prepared)
    assert together.dtype == torch.float32
    torch.testing.assert_close(together, torch.cat(alone), **SAME)


@torch.no_grad()
@pytest.mark.parametrize("family", ["sdxl", "sd3", "upscaler"])
def test_the_prompt_counts_and_at_cfg_1_the_negative_one_does_not(family, checkpoint):
    u, sigma = randn(1, 16 if family == "sd3" else 4, *SIZE), torch.tensor([1.0])

    def estimate(prompt: str, negative: str, cfg: float) -> Tensor:
        options = PretrainedOptions(prompt, negative, cfg)
        model = load_model(checkpoint(family), "super-resolution", CPU, options)
        return model.denoiser(u, sigma, model.prepare(task_condition(model, family)))

    plain = estimate("a cat", "", 1.0)
    assert torch.equal(plain, estimate("a cat", "fog", 1.0))
    assert not torch.allclose(plain, estimate("a dog", "", 1.0))
    assert not torch.allclose(estimate("a cat", "", 5.0), estimate("a cat", "fog", 5.0))


def test_gradients_pass_through_to_the_noisy_latents_alone(checkpoint):
    """For guidance "network"."""
    model = load(checkpoint("sdxl"), "sdxl")
    u = randn(2, 4, *SIZE).requires_grad_()
    h = model.denoiser(u, torch.tensor([1.0, 3.0]), {})
    (gradient,) = torch.autograd.grad(h[0].sum(), u)
    assert gradient[0].abs().max() > 0
    assert gradient[1].abs().max() == 0


def test_half_precision_is_the_networks_own_business(checkpoint):
    whole, half = (load(checkpoint("sdxl"), "sdxl", dtype=dtype) for dtype in ("fp32", "bf16"))
    assert half.denoiser.network.unet.dtype == torch.bfloat16
    assert half.codec.vae.dtype == torch.float32  # its config does not say that less will do
    u, sigma = randn(1, 4, *SIZE), torch.tensor([0.5])
    with torch.no_grad():
        h, rounded = (model.denoiser(u, sigma, {}) for model in (whole, half))
    assert rounded.dtype == torch.float32
    assert 0 < (h - rounded).abs().max() < 0.1  # 8 bits of mantissa, and cfg multiplies what they lose


def test_sides_and_ranges(checkpoint):
    for family, multiple in {"sdxl": 4, "upscaler": 8, "sd3": 4}.items():
        model = load(checkpoint(family), family)
        low, high = model.sigma_range({})
        assert model.multiple == multiple
        assert 0 < low < 0.05 < 10 < high < 1000
        levels = model.levels(7, SIZE)
        assert levels.shape == (8,)
        assert (levels.diff() < 0).all()
        assert levels[-1] == 0
        assert model.spectra == ("white",)
        assert model.sees_input == (family == "upscaler")
