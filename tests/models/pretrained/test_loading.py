"""What may be wrong with a checkpoint is said in one sentence; what its files say beside is heeded."""

import json
import shutil
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, EDMEulerScheduler, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from tests.models.tiny import randn
from warped_diffusion.errors import UserError
from warped_diffusion.models import PretrainedOptions, load_model
from warped_diffusion.models.pretrained.options import choose_dtype

CPU = torch.device("cpu")
REVISION = "0" * 40
U, SIGMA = randn(1, 4, 8, 8), torch.tensor([2.0])


@pytest.fixture
def copy(checkpoint, tmp_path):
    """A checkpoint of "sd" that a test may spoil."""
    return Path(shutil.copytree(checkpoint("sd"), tmp_path / "sd"))


def load(folder, task="super-resolution", **options):
    return load_model(folder, task, CPU, PretrainedOptions(**options), tile="none")


@torch.no_grad()
def estimate(folder, **options):
    return load(folder, **options).denoiser(U, SIGMA, {})


def refused(message, folder, task="super-resolution", **options):
    with pytest.raises(UserError, match=message) as caught:
        load(folder, task, **options)
    assert "\n" not in str(caught.value)


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_is_no_checkpoint_is_told_from_what_is_nowhere(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    refused("holds no readable model_index.json: give a folder in diffusers' format", tmp_path)
    refused("no model 'nowhere': give one of embedded", "nowhere")
    refused("no model './models/sd'", "./models/sd")
    refused("no model 'weights/of.safetensors'", "weights/of.safetensors")
    refused(
        "there is no folder 'nobody/nothing', and the model hub does not give .* check the name and", "nobody/nothing"
    )


def test_a_hub_name_is_found_in_the_hubs_cache_without_a_network(checkpoint, tmp_path, monkeypatch):
    cache = tmp_path / "models--some-body--tiny.sd"
    shutil.copytree(checkpoint("sd"), cache / "snapshots" / REVISION)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(REVISION)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert torch.equal(estimate("some-body/tiny.sd"), estimate(checkpoint("sd")))


def test_an_unknown_family_is_named(copy):
    edit(copy / "model_index.json", _class_name="StableVideoDiffusionPipeline")
    refused("is a StableVideoDiffusionPipeline, which is not known here: known are StableDiffusionPipeline,", copy)
    edit(copy / "model_index.json", _class_name=["pipeline", "Mine"])
    refused("which is not known here", copy)


@pytest.mark.parametrize("part", ["vae", "unet", "text_encoder"])
def test_missing_parts_are_named(part, copy):
    edit(copy / "model_index.json", **{part: [None, None]})
    refused(f"has no {part}: give a whole checkpoint", copy)


def test_weights_that_are_missing_or_broken(copy):
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(b"\xff" * 64)
    refused("cannot be loaded: ", copy)
    weights.unlink()
    refused("cannot be loaded: ", copy)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_pickles_are_refused_unless_allowed(part, copy, checkpoint):
    (weights,) = (copy / part).glob("*.safetensors")
    name = "pytorch_model.bin" if part == "text_encoder" else "diffusion_pytorch_model.bin"
    torch.save(load_file(weights), copy / part / name)
    weights.unlink()
    refused("holds weights as pickles, .* convert them to safetensors, or give --allow-pickle", copy)
    assert torch.equal(estimate(copy, allow_pickle=True), estimate(checkpoint("sd")))


@pytest.mark.parametrize("kept", [(), ("unet",), ("vae",)], ids=lambda kept: kept or ("none",))
def test_weights_that_come_in_half_precision_alone_are_found(kept, copy, checkpoint):
    """As hubs have them, `*.fp16.safetensors`, of all components or of all but one."""
    half = {}
    for weights in copy.glob("*/*.safetensors"):
        half[weights] = {name: value.half() for name, value in load_file(weights).items()}
        save_file(half[weights], weights.with_suffix(".fp16.safetensors"), {"format": "pt"})
        if weights.parent.name not in kept:
            weights.unlink()
    expected = shutil.copytree(checkpoint("sd"), copy.parent / "rounded")
    for weights, values in half.items():
        save_file(values, expected / weights.relative_to(copy), {"format": "pt"})
    assert torch.equal(estimate(copy), estimate(expected))


def test_channels_and_task_are_compared_before_anything_is_sampled(checkpoint):
    refused("fills holes: give --task inpainting", checkpoint("sdxl-inpainting"))
    refused("shown no mask", checkpoint("sdxl-concatenated"), "inpainting")
    with pytest.raises(UserError, match=r"enlarges 4 times .* got super-resolution at scale 2"):
        load_model(checkpoint("upscaler"), "super-resolution", CPU, scale=2)


def test_a_finetuned_networks_config_says_its_task_and_its_noise(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint("sdxl-concatenated"), tmp_path / "tuned")
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
    unet.register_to_config(restoration_task="clean-up", noise_spectrum="squared-exponential")
    unet.save_pretrained(folder / "unet")
    assert load(folder, "clean-up").spectra == ("squared-exponential",)
    refused("was trained for clean-up, not for super-resolution: give --task clean-up", folder)


def test_another_scheduler_of_the_same_levels_changes_nothing(copy, checkpoint):
    pipe = DiffusionPipeline.from_pretrained(checkpoint("sd"))
    DDIMScheduler.from_config(pipe.scheduler.config).save_pretrained(copy / "scheduler")
    edit(copy / "model_index.json", scheduler=["diffusers", "DDIMScheduler"])
    assert torch.equal(estimate(copy), estimate(checkpoint("sd")))
    assert torch.equal(load(copy).levels(5, (8, 8)), load(checkpoint("sd")).levels(5, (8, 8)))


def test_a_terminal_level_without_signal_stays_finite(copy):
    edit(copy / "scheduler" / "scheduler_config.json", rescale_betas_zero_snr=True, prediction_type="v_prediction")
    model = load(copy)
    high = model.sigma_range({})[1]
    assert high == pytest.approx(2.0**12, rel=1e-3)
    with torch.no_grad():
        assert model.denoiser(high * U, torch.tensor([high]), {}).isfinite().all()


def test_levels_of_an_unknown_kind_are_refused(copy):
    EDMEulerScheduler().save_pretrained(copy / "scheduler")
    edit(copy / "model_index.json", scheduler=["diffusers", "EDMEulerScheduler"])
    refused("noise levels of a kind not known here, EDMEulerScheduler", copy)


def test_networks_that_predict_more_or_are_told_their_guidance_are_refused(copy):
    unet = UNet2DConditionModel.from_pretrained(copy, subfolder="unet")
    for change, message in (({"out_channels": 8}, "predicts 8 channels"), ({"time_cond_proj_dim": 8}, "distilled")):
        UNet2DConditionModel.from_config(dict(unet.config) | change).save_pretrained(copy / "unet")
        refused(message, copy)


def test_flow_levels_shift_with_the_frames_size_where_the_config_says_so(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint("sd3"), tmp_path / "sd3")
    edit(folder / "scheduler" / "scheduler_config.json", use_dynamic_shifting=True)
    levels = load(folder).levels
    small, large = levels(5, (32, 32)), levels(5, (128, 128))
    t = small / (1 + small)
    even = torch.linspace(1, 0.001, 5, dtype=torch.float64)
    # 256 tokens are the config's first point: mu = 0.5
    e = torch.e**0.5
    torch.testing.assert_close(t[:-1], e / (e + 1 / even - 1), rtol=0, atol=1e-5)
    assert (large[1:-1] > small[1:-1]).all()


def test_low_rank_weights_are_added(copy, checkpoint, tmp_path):
    pipe = DiffusionPipeline.from_pretrained(checkpoint("sd"))
    pipe.unet.add_adapter(LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=["to_q", "to_v"]))
    layers = get_peft_model_state_dict(pipe.unet)
    pipe.save_lora_weights(tmp_path / "lora", unet_lora_layers=layers)
    (file,) = (tmp_path / "lora").glob("*.safetensors")
    added = estimate(copy, lora=file, cfg=1.0, prompt="a cat")
    plain = estimate(copy, cfg=1.0, prompt="a cat")
    words = pipe.encode_prompt("a cat", CPU, 1, False)[0]
    with torch.no_grad():
        time = load(copy).denoiser.parameterisation.time(SIGMA)
        expected = U - SIGMA * pipe.unet(U / (SIGMA**2 + 1) ** 0.5, time, words).sample
    torch.testing.assert_close(added, expected, rtol=0, atol=1e-4)  # float32, fused or not
    assert (added - plain).abs().max() > 1e-3
    assert torch.equal(added, estimate(copy, lora=file.parent, cfg=1.0, prompt="a cat"))


def test_low_rank_weights_that_cannot_be_added(copy, tmp_path):
    (tmp_path / "not.safetensors").write_bytes(b"\xff" * 64)
    refused("low-rank weights .* cannot be added: ", copy, lora=tmp_path / "not.safetensors")


def test_offloading_needs_a_gpu(checkpoint):
    for offload in ("model", "sequential"):
        refused(
            f"offload '{offload}' moves the network between main memory and a GPU", checkpoint("sd"), offload=offload
        )


def test_without_the_library_its_extra_is_named(checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    refused(r'need diffusers and transformers .*: pip install "warped-diffusion\[diffusers\]"', checkpoint("sd"))


def test_loading_says_nothing_and_leaves_the_callers_randomness(checkpoint, capfd):
    folder = checkpoint("sdxl")
    capfd.readouterr()  # making it may say something
    torch.manual_seed(5)
    before = torch.get_rng_state()
    load(folder)
    assert torch.equal(torch.get_rng_state(), before)
    assert capfd.readouterr() == ("", "")


def test_an_autoencoder_that_may_is_in_half_precision_too(copy):
    vae = AutoencoderKL.from_pretrained(copy, subfolder="vae")
    vae.register_to_config(force_upcast=False)
    vae.save_pretrained(copy / "vae")
    assert load(copy, dtype="bf16").codec.vae.dtype == torch.bfloat16


def test_the_precision_is_as_asked_and_float32_on_a_cpu():
    assert choose_dtype("auto", CPU) == torch.float32
    assert choose_dtype("fp16", CPU) == torch.float16
