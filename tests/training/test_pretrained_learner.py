"""What fine-tuning asks of Stable Diffusion and SDXL, on tiny random checkpoints."""

import json
import math
import shutil
from functools import cache
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from torch import Tensor

from tests.models.tiny import randn
from tests.training.finetuned import PRESETS, SIDE, batch, learner, loss, trained
from warped_diffusion.errors import UserError
from warped_diffusion.models.pretrained.parameterisation import PREDICTIONS, Discrete
from warped_diffusion.noise import SquaredExponential
from warped_diffusion.training.finetuning import Predictor
from warped_diffusion.training.pretrained_learner import min_snr_weight


@torch.no_grad()
@pytest.mark.parametrize("family", ["sd", "sdxl"])
@pytest.mark.parametrize("preset", PRESETS)
def test_before_any_training_the_widened_network_is_the_base_network(preset, family, checkpoints):
    made = learner(checkpoints(family), preset)
    question = made.question(batch(made.config))
    base = UNet2DConditionModel.from_pretrained(checkpoints(family), subfolder="unet").eval()
    x = question.noisy * made.parameterisation.scale(question.sigma)
    arguments = question.step.float(), question.text.tokens, question.text.pooled
    beside = 5 if made.config.task == "inpainting" else 4
    assert question.shown.shape[1] == beside
    assert question.shown.abs().max() > 0.01
    widened = made.module(torch.cat([x, question.shown], 1), *arguments)
    assert torch.equal(widened, Predictor(base, 2)(x, *arguments))
    assert not made.module.unet.conv_in.weight[:, 4:].any()


def test_a_checkpoint_that_has_the_channels_keeps_them(checkpoints):
    before = UNet2DConditionModel.from_pretrained(checkpoints("sdxl-concatenated"), subfolder="unet").conv_in.weight
    assert torch.equal(learner(checkpoints("sdxl-concatenated")).module.unet.conv_in.weight, before)


def test_low_rank_weights_are_few_and_conv_in_is_whole(checkpoints):
    made = learner(checkpoints("sdxl"), "sdxl-sr8-lora-24gb")
    names = set(trained(made))
    assert {name for name in names if "lora_" not in name} == {"unet.conv_in.weight", "unet.conv_in.bias"}
    projections = [name for name in names if name.endswith("lora_A.default.weight")]
    kinds = {name.removesuffix(".lora_A.default.weight").rpartition(".")[2] for name in projections}
    assert kinds == {"to_q", "to_k", "to_v", "0"}
    attentions = sum(name.endswith("to_q") for name, _ in made.module.named_modules())
    assert len(projections) == 4 * attentions
    again = trained(learner(checkpoints("sdxl"), "sdxl-sr8-lora-24gb"))
    assert all(torch.equal(again[name], value) for name, value in trained(made).items())


@torch.no_grad()
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_target_is_what_gives_the_clean_image_back(prediction):
    """x_0 and n of unit size, u up to 15: float32 keeps 1e-5 of x_0."""
    table = torch.linspace(0.03, 14.6, 50, dtype=torch.float64)
    parameterisation = Discrete(table, prediction)
    x, n = randn(50, 4, 6, 6), randn(50, 4, 6, 6, seed=1)
    s = table.float()[:, None, None, None]
    h = parameterisation.denoised(x + s * n, s, parameterisation.target(x, s, n))
    torch.testing.assert_close(h, x, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("family", ["sd", "sd-v", "sd-x", "sdxl"])
def test_a_perfect_network_has_no_error_and_restores_the_clean_latents(family, checkpoints):
    made = learner(checkpoints(family), min_snr=5.0)
    given = batch(made.config, range(8))
    question = made.question(given)
    error, weight = made.errors(lambda *_: question.target, given)
    assert torch.equal(error, torch.zeros(8))
    assert torch.equal(weight, torch.ones(8))
    h = made.parameterisation.denoised(question.noisy, question.sigma, question.target)
    torch.testing.assert_close(h, question.clean, rtol=0, atol=1e-5)
    assert question.sigma.min() < 1 < question.sigma.max()


@pytest.mark.parametrize(
    ("sigma", "snr"), [(0.5, 4.0), (0.25, 16.0), (2.0, 0.25), (math.sqrt(0.2), 5.0)], ids=lambda x: f"{x:.2g}"
)
def test_min_snr_weights_are_the_published_ones(sigma, snr):
    """Hang et al. (2023): min(SNR, 5) for x_0, min(SNR, 5) / SNR for the noise, min(SNR, 5) / (SNR + 1) for v."""
    level = torch.tensor([sigma])
    expected = {"sample": min(snr, 5), "epsilon": min(snr, 5) / snr, "v_prediction": min(snr, 5) / (snr + 1)}
    for prediction, weight in expected.items():
        assert float(min_snr_weight(level, prediction, 5.0)) == pytest.approx(weight, rel=1e-6)
        assert float(min_snr_weight(level, prediction, 0.0)) == 1


@torch.no_grad()
def test_every_parameterisations_weighted_error_is_one_error_of_the_clean_image(checkpoints):
    """An estimate that is off by d has a loss of min(SNR, 5) d^2, whatever the network predicts."""
    for family in ("sd", "sd-v", "sd-x"):
        made = learner(checkpoints(family), min_snr=5.0)
        given = batch(made.config, range(8))
        question = made.question(given)
        wrong = question.clean + 0.1
        implied = made.parameterisation.target(wrong, question.sigma, (question.noisy - wrong) / question.sigma)
        error, _ = made.errors(lambda *_, implied=implied: implied, given)
        expected = question.sigma.flatten().pow(-2).clamp(max=5) * 0.01
        torch.testing.assert_close(error, expected, rtol=1e-3, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("offset", [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0)])
def test_the_training_noise_is_the_papers_on_the_latent_grid(offset, checkpoints):
    """The covariance over 1000 seeds is the truncated kernel, .341 at one cell, to four standard errors."""
    dx, dy = offset
    noise = noises(checkpoints("sd"))
    products = (noise[..., dy:, dx:] * noise[..., : 16 - dy, : 16 - dx]).mean((-1, -2)).flatten()
    kappa = SquaredExponential().kernel(*torch.tensor(offset, dtype=torch.float64))
    error = float(products.std()) / math.sqrt(len(products))
    assert error < 0.005
    assert abs(float(products.mean() - kappa)) < 4 * error
    if offset == (1, 0):
        assert float(kappa) == pytest.approx(0.341, abs=5e-4)


@cache
def noises(folder: Path) -> Tensor:
    """What the network is to predict, the noise, of 1000 samples: (1000, 4, 16, 16)."""
    made = learner(folder)
    made.codec.encode = lambda pictures: torch.zeros(len(pictures), 4, 16, 16)
    return made.question(batch(made.config, range(1000))).target.double()


@torch.no_grad()
def test_chance_is_keyed_by_the_sample(checkpoints):
    made = learner(checkpoints("sdxl"), prompt_drop=0.5)
    captions = [f"cat {letter}" for letter in "abcdefgh"]
    whole = made.question(batch(made.config, range(8), captions))
    none = made.texts([""], [True])
    dropped = [bool(torch.equal(tokens, none.tokens[0])) for tokens in whole.text.tokens]
    assert 0 < sum(dropped) < 8
    for seed in (0, 5):
        alone = made.question(batch(made.config, [seed], [captions[seed]]))
        for name in ("clean", "noisy", "sigma", "step", "shown", "target"):
            assert torch.equal(getattr(alone, name)[0], getattr(whole, name)[seed])
        assert torch.equal(alone.text.tokens[0], whole.text.tokens[seed])
        assert torch.equal(alone.text.pooled[0], whole.text.pooled[seed])


@torch.no_grad()
def test_as_many_prompts_are_dropped_as_asked_and_steps_are_uniform(checkpoints):
    made = learner(checkpoints("sd"), prompt_drop=0.3)
    seeds = list(range(400))
    chances = [made.chances(seed) for seed in seeds]
    share = sum(dropped for _, dropped in chances) / 400
    assert abs(share - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 400)
    steps = torch.tensor([step for step, _ in chances]).double()
    assert abs(float(steps.mean()) - 499.5) < 4 * 1000 / math.sqrt(12 * 400)
    assert int(steps.min()) < 20 < 980 < int(steps.max()) < 1000


@torch.no_grad()
@pytest.mark.parametrize("preset", PRESETS)
def test_cached_latents_and_texts_give_the_same_loss(preset, checkpoints, tmp_path):
    captions = ["a cat", "a dog"]
    plain = learner(checkpoints("sdxl"), preset)
    expected = loss(plain, batch(plain.config, captions=captions))
    for _ in range(2):
        kept = learner(checkpoints("sdxl"), preset, cache=str(tmp_path))
        assert torch.equal(loss(kept, batch(kept.config, captions=captions)), expected)
    # one picture, and what the network is shown of it where that does not change; two captions
    files = list(tmp_path.rglob("*.safetensors"))
    assert len(files) == (1 if "inpaint" in preset else 2) + 2
    assert not list(tmp_path.rglob("*.part"))

    def fails(*_: object) -> None:
        raise AssertionError("encoded again")

    if "inpaint" not in preset:
        kept.codec.codec.vae.encode = fails
    kept.texts.pipe.encode_prompt = fails
    assert torch.equal(loss(kept, batch(kept.config, captions=captions)), expected)
    files[0].write_bytes(b"cut short")
    again = learner(checkpoints("sdxl"), preset, cache=str(tmp_path))
    assert torch.equal(loss(again, batch(again.config, captions=captions)), expected)


@torch.no_grad()
def test_another_autoencoder_does_not_read_the_first_ones_latents(checkpoints, tmp_path):
    first = learner(checkpoints("sdxl"), cache=str(tmp_path))
    first.question(batch(first.config))
    other = learner(checkpoints("sd"), cache=str(tmp_path))  # the same weights, scaled otherwise
    plain = learner(checkpoints("sd"))
    assert torch.equal(loss(other, batch(other.config)), loss(plain, batch(plain.config)))


@pytest.mark.parametrize("preset", ["sdxl-sr8-paper", "sdxl-sr8-lora-24gb"])
def test_gradient_checkpointing_gives_the_same_gradients(preset, checkpoints):
    gradients = []
    for again in (False, True):
        made = learner(checkpoints("sdxl"), preset, gradient_checkpointing=again)
        assert made.module.unet.is_gradient_checkpointing == again
        loss(made, batch(made.config)).backward()
        gradients.append({name: p.grad for name, p in made.module.named_parameters() if p.requires_grad})
    plain, checkpointed = gradients
    assert plain.keys() == checkpointed.keys()
    for name, value in plain.items():
        torch.testing.assert_close(checkpointed[name], value, rtol=1e-5, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("preset", ["sdxl-sr8-paper", "sdxl-inpaint-paper"])
def test_what_is_looked_at_is_input_estimate_and_truth(preset, checkpoints):
    made = learner(checkpoints("sdxl"), preset)
    given = batch(made.config)
    target = made.question(given).target
    pictures = made.shown(lambda *_: target, given)
    assert pictures.shape == (2, 3, SIDE, 3 * SIDE)
    seen, estimate, truth = pictures.chunk(3, -1)
    torch.testing.assert_close(truth, given["clean"] / 2 + 0.5)
    decoded = made.codec.decode(made.codec.encode(given["clean"])) / 2 + 0.5
    torch.testing.assert_close(estimate, decoded.clamp(0, 1), rtol=0, atol=1e-4)
    if "mask" in given:
        hole = given["mask"].expand_as(seen) > 0
        assert (seen[hole] == 0.5).all()
        assert torch.equal(seen[~hole], truth[~hole])


def refused(message: str, model: Path, preset: str = "sdxl-sr8-paper", **changes) -> None:
    with pytest.raises(UserError, match=message) as caught:
        learner(model, preset, **changes)
    assert "\n" not in str(caught.value)


def test_checkpoints_that_cannot_be_fine_tuned_are_refused(checkpoints, tmp_path):
    refused("StableDiffusion3Pipeline, whose network is no UNet: fine-tuning knows", checkpoints("sd3"))
    refused("takes 9 channels, so it was made for another task: to fine-tune for super", checkpoints("sdxl-inpainting"))
    refused("takes 8 channels, so it was made for another", checkpoints("sd-concatenated"), "sdxl-inpaint-paper")
    refused("takes 7 channels and is told a class, so it was made for another", checkpoints("upscaler"))
    made = learner(checkpoints("sd"))
    folder = made.export(trained(made), tmp_path, {})
    refused("was trained for super-resolution, not for inpainting", folder, "sdxl-inpaint-paper")
    refused("was trained for scale 8, not for 4", folder, scales=(4,))
    assert learner(folder).module.unet.config.in_channels == 8  # goes on


def test_levels_that_are_not_numbered_are_refused(checkpoints, tmp_path):
    folder = Path(shutil.copytree(checkpoints("sd"), tmp_path / "sd"))
    FlowMatchEulerDiscreteScheduler().save_pretrained(folder / "scheduler")
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", "FlowMatchEulerDiscreteScheduler"]
    (folder / "model_index.json").write_text(json.dumps(index))
    refused("has the scheduler FlowMatchEulerDiscreteScheduler: fine-tuning knows", folder)


def test_settings_of_no_use_to_a_pretrained_model_are_refused(checkpoints):
    refused("spectra names white and squared-exponential, but", checkpoints("sd"), spectra="white,squared-exponential")
    refused("scales names 2 factors, but", checkpoints("sd"), scales="4,8", scale_shares="1,1")
    refused("crop is 33, but .* multiples of 4", checkpoints("sd"), crop=33)
    refused("warm_start is for embedded networks", checkpoints("sd"), warm_start="w.safetensors")


def test_what_is_frozen_is_in_the_precision_of_the_run_and_what_is_trained_in_full(checkpoints):
    made = learner(checkpoints("sdxl"), "sdxl-sr8-lora-24gb", precision="bf16")
    kinds = {(p.requires_grad, p.dtype) for p in made.module.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}
    whole = learner(checkpoints("sdxl"), precision="bf16")
    assert {p.dtype for p in whole.module.parameters()} == {torch.float32}
    assert whole.texts.pipe.text_encoder.dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        for one in (made, whole):
            loss(one, batch(one.config)).backward()
    assert all(p.grad.isfinite().all() for p in made.module.parameters() if p.requires_grad)
