"""Which model a name, a path or a denoiser stands for."""

import subprocess
import sys

import pytest
import torch

from tests.models.tiny import tiny_denoiser
from warped_diffusion.errors import UserError
from warped_diffusion.models import Model, embedded, load_model, trained_for
from warped_diffusion.models import model as models
from warped_diffusion.models.precision import best_dtype
from warped_diffusion.options import Options, settled

CPU = torch.device("cpu")


def test_a_path_is_a_model_that_starts_at_the_picture_and_samples_its_residuals_range(tmp_path):
    embedded.save(tiny_denoiser(), tmp_path / "w.safetensors", {})
    model = load_model(str(tmp_path / "w.safetensors"), "super-resolution", CPU)
    condition = {"picture": torch.rand(3, 8, 8), "scale": torch.tensor(8.0)}
    assert model.spectra == ("white", "squared-exponential")
    assert model.sigma_range(condition) == pytest.approx((0.195 / 40, 0.195 * 60))
    assert model.start(condition) is condition["picture"]


def test_weights_of_another_task_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    embedded.save(tiny_denoiser(task="inpainting"), path, {})
    model = load_model(path, "inpainting", CPU)
    assert model.sigma_range({}) == (0.005, 2)
    with pytest.raises(UserError, match="was trained for inpainting, not for super-resolution: give --task inpainting"):
        load_model(path, "super-resolution", CPU)


def test_what_a_file_of_weights_was_trained_for_need_not_be_said(tmp_path):
    embedded.save(tiny_denoiser(task="inpainting"), tmp_path / "holes.safetensors", {})
    (tmp_path / "other.safetensors").write_bytes(b"nothing")
    assert trained_for(tmp_path / "holes.safetensors") == ("inpainting", None)
    assert settled(Options(model=tmp_path / "holes.safetensors")).task == "inpainting"
    assert settled(Options(model=tmp_path / "holes.safetensors", task="clean-up")).task == "clean-up"
    assert trained_for(tmp_path / "other.safetensors") == trained_for("embedded") == (None, None)
    assert settled(Options()) == Options(task="super-resolution")


def test_each_task_has_its_own_embedded_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "WEIGHTS", tmp_path)
    with pytest.raises(UserError, match="there is no embedded model for the task 'inpainting'"):
        load_model("embedded", "inpainting", CPU)
    embedded.save(tiny_denoiser(task="inpainting"), tmp_path / "inpainting.safetensors", {})
    assert load_model("embedded", "inpainting", CPU).denoiser.task == "inpainting"


def test_a_denoiser_is_taken_as_it_is():
    def denoiser(noisy, sigma, condition):
        return noisy

    model = load_model(denoiser, "super-resolution", CPU)
    assert model.denoiser is denoiser
    assert model.start({}) is None
    assert load_model(model, "any", CPU) is model
    assert isinstance(model, Model)


def test_a_name_that_is_neither_model_nor_file_is_one_sentence():
    with pytest.raises(UserError, match="no model 'nowhere': give one of embedded, embedded-prior, the path"):
        load_model("nowhere", "super-resolution", CPU)


def test_a_task_without_weights_is_one_sentence():
    with pytest.raises(UserError, match="no embedded model for the task 'juggling'"):
        load_model("embedded", "juggling", CPU)


def test_the_format_is_one_that_the_device_can_compute_in():
    assert best_dtype(CPU) in (torch.bfloat16, torch.float32)
    assert best_dtype(torch.device("meta")) == torch.float32


def test_the_embedded_models_need_none_of_the_libraries_of_pretrained_ones_or_of_training():
    """They take seconds to import."""
    code = (
        "import sys, torch, warped_diffusion.cli, warped_diffusion.restore_video; from warped_diffusion import models;"
        "models.load_model('embedded', 'super-resolution', torch.device('cpu'));"
        "print({'diffusers', 'transformers', 'peft', 'accelerate', 'warped_diffusion.training'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
