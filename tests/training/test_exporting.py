"""What fine-tuning makes: a folder that restores clips, and says what it is."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from tests.test_cli import frames_of, run
from tests.training.finetuned import CPU, PRESETS, ROUNDING, batch, fit, learner, tiny, trained
from warped_diffusion.errors import UserError
from warped_diffusion.models import PretrainedOptions, load_model
from warped_diffusion.training import train
from warped_diffusion.training.finetuning import Predictor
from warped_diffusion.training.pretrained_learner import PretrainedLearner
from warped_diffusion.video import VideoWriter


def clip(path: Path, size: tuple[int, int]) -> Path:
    with VideoWriter(path, frame_rate=Fraction(25), size=size) as writer:
        for frame in torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)):
            writer.write(frame)
    return path


@pytest.mark.parametrize("family", ["sd", "sdxl"])
@pytest.mark.parametrize("preset", PRESETS)
def test_thirty_steps_of_each_preset_learn_and_what_they_made_restores_a_clip(
    preset, family, checkpoints, tmp_path, monkeypatch
):
    made = learner(checkpoints(family), preset, cache=str(tmp_path / "cache"))
    before, after = fit(made, 30)
    assert after < 0.9 * before
    folder = made.export(trained(made), tmp_path / "run", {"steps": 30, "samples": 60, "pictures": "one picture"})
    task = made.config.task
    # what it was trained for, its factor included, it says itself
    asked, factor = (["--mask-box", "4,4,6,2"], 1) if task == "inpainting" else ([], 8)
    target = tmp_path / "out.mp4"
    options = ["--model", folder, "--steps", 1, "--prompt", "a cat", "--cfg", 2, *asked]
    assert run(monkeypatch, "restore", clip(tmp_path / "in.mp4", (8, 12)), target, *options) == 0
    assert frames_of(target).shape == (2, 3, 8 * factor, 12 * factor)


def test_the_loop_trains_it_goes_on_and_exports_the_folder(checkpoints, packed, tmp_path):
    places = {"pictures": str(packed / "pictures"), "out": str(tmp_path), "workers": 0, "validate_every": 0}
    settings = places | {"checkpoint_every": 2, "cache": str(tmp_path / "cache")}
    train(tiny(checkpoints("sd"), "sdxl-sr8-lora-24gb", steps=2, **settings))
    folder = train(tiny(checkpoints("sd"), "sdxl-sr8-lora-24gb", steps=3, **settings))
    assert folder == tmp_path / "model"
    card = (folder / "README.md").read_text()
    assert "3 of 2 pictures of 16×16" in card
    assert "3 pictures, packed, in pictures |" in card  # its path is nobody's business
    base = UNet2DConditionModel.from_pretrained(checkpoints("sd"), subfolder="unet").state_dict()
    made = UNet2DConditionModel.from_pretrained(folder, subfolder="unet").state_dict()
    changed = {name for name, value in base.items() if value.shape != made[name].shape or (value != made[name]).any()}
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in changed} == {"conv_in", "to_q", "to_k", "to_v", "0"}


@pytest.mark.parametrize("preset", PRESETS)
def test_the_exported_config_says_what_was_made_and_restoring_heeds_it(preset, checkpoints, tmp_path):
    made = learner(checkpoints("sdxl"), preset)
    folder = made.export(trained(made), tmp_path, {"steps": 7, "samples": 14, "pictures": "12 shards, streamed"})
    said = json.loads((folder / "unet" / "config.json").read_text())
    assert said["restoration_task"] == made.config.task
    assert said["noise_spectrum"] == "squared-exponential"
    assert said["parameterisation"] == "epsilon"
    assert said.get("restoration_scale") == (None if made.config.task == "inpainting" else 8)
    assert said["in_channels"] == (9 if made.config.task == "inpainting" else 8)
    scale = None if made.config.task == "inpainting" else 8
    model = load_model(folder, made.config.task, CPU, PretrainedOptions(), scale)
    assert model.spectra == ("squared-exponential",)
    other = "super-resolution" if scale is None else "inpainting"
    with pytest.raises(UserError, match=f"was trained for {made.config.task}, not for {other}"):
        load_model(folder, other, CPU, PretrainedOptions())
    for asked in () if scale is None else (4, None):
        with pytest.raises(UserError, match="was trained for scale 8, not for 4: give --scale 8"):
            load_model(folder, "super-resolution", CPU, PretrainedOptions(), asked)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md", ".txt"}
    assert not [path for path in files if path.suffix != ".safetensors" and str(tmp_path.parent) in path.read_text()]
    card = (folder / "README.md").read_text()
    assert all(text in card for text in ("| Base model | sdxl |", "squared-exponential", "7 of 2", "12 shards"))
    assert "license" not in card
    assert not list(tmp_path.glob("*.part"))


def test_everything_that_was_not_trained_is_exported_as_it_was(checkpoints, tmp_path):
    base = checkpoints("sdxl")
    made = learner(base)
    folder = made.export(trained(made), tmp_path, {})
    for weights in base.rglob("*.safetensors"):
        if weights.parent.name != "unet":
            there, before = load_file(folder / weights.relative_to(base)), load_file(weights)
            assert all(torch.equal(there[name], value) for name, value in before.items())
    for part in ("vae", "scheduler"):
        (config,) = (base / part).glob("*config.json")
        before, after = (json.loads((root / part / config.name).read_text()) for root in (base, folder))
        before.pop("_name_or_path", None)
        assert before.items() == {name: value for name, value in after.items() if name in before}.items()


def test_the_base_models_licence_is_handed_on(checkpoints, tmp_path):
    base = Path(shutil.copytree(checkpoints("sd"), tmp_path / "base"))
    (base / "README.md").write_text("---\nlicense: openrail++\n---\n# Base\n")
    made = learner(base)
    card = (made.export(trained(made), tmp_path, {}) / "README.md").read_text()
    assert card.startswith("---\n")
    assert "license: openrail++" in card
    assert "| Licence | openrail++ |" in card


@torch.no_grad()
def test_exported_low_rank_weights_are_the_network_that_was_trained(checkpoints, tmp_path):
    made = learner(checkpoints("sdxl"), "sdxl-sr8-lora-24gb")
    fit_weights(made)
    folder = made.export(trained(made), tmp_path, {})
    fused = UNet2DConditionModel.from_pretrained(folder, subfolder="unet").eval()
    assert not [name for name, _ in fused.named_parameters() if "lora" in name]
    question = made.question(batch(made.config))
    x = torch.cat([question.noisy * made.parameterisation.scale(question.sigma), question.shown], 1)
    arguments = x, question.step.float(), question.text.tokens, question.text.pooled
    unfused = made.module(*arguments)
    torch.testing.assert_close(Predictor(fused, 2)(*arguments), unfused, **ROUNDING)
    made.module.unet.disable_lora()
    assert (made.module(*arguments) - unfused).abs().max() > 1000 * ROUNDING["atol"]


def fit_weights(made: PretrainedLearner) -> None:
    """Any weights that are not those to begin with: the second low-rank factor starts as zeros."""
    generator = torch.Generator().manual_seed(0)
    for parameter in made.module.parameters():
        if parameter.requires_grad:
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))


@torch.no_grad()
def test_it_is_the_averaged_weights_that_are_exported(checkpoints, tmp_path):
    made = learner(checkpoints("sd"))
    averaged = {name: value + 1 for name, value in trained(made).items()}
    weights = load_file(made.export(averaged, tmp_path, {}) / "unet" / "diffusion_pytorch_model.safetensors")
    assert weights.keys() == {name.removeprefix("unet.") for name in averaged}
    assert all(torch.equal(weights[name.removeprefix("unet.")], value) for name, value in averaged.items())
    averaged.popitem()
    with pytest.raises(ValueError, match="without the trained parameters"):
        made.export(averaged, tmp_path, {})
