"""Which model a name, a path or a denoiser stands for."""

import pytest
import torch

from tests.models.tiny import tiny_denoiser
from warped_diffusion.errors import UserError
from warped_diffusion.models import Model, embedded, load_model
from warped_diffusion.models.precision import best_dtype

CPU = torch.device("cpu")


def test_a_path_is_a_model_that_starts_at_the_picture_and_samples_its_residuals_range(tmp_path):
    embedded.save(tiny_denoiser(), tmp_path / "w.safetensors", {})
    model = load_model(str(tmp_path / "w.safetensors"), "super-resolution", CPU)
    condition = {"picture": torch.rand(3, 8, 8), "scale": torch.tensor(8.0)}
    assert model.spectra == ("white", "squared-exponential")
    assert model.sigma_range(condition) == embedded.sigma_range(8.0)
    assert model.start(condition) is condition["picture"]


def test_a_denoiser_is_taken_as_it_is():
    def denoiser(noisy, sigma, condition):
        return noisy

    model = load_model(denoiser, "super-resolution", CPU)
    assert model.denoiser is denoiser
    assert model.start({}) is None
    assert load_model(model, "any", CPU) is model
    assert isinstance(model, Model)


def test_a_name_that_is_neither_model_nor_file_is_one_sentence():
    with pytest.raises(UserError, match="no model 'nowhere': give one of embedded, or the path"):
        load_model("nowhere", "super-resolution", CPU)


def test_a_task_without_weights_is_one_sentence():
    with pytest.raises(UserError, match="no embedded model for the task 'juggling'"):
        load_model("embedded", "juggling", CPU)


def test_the_format_is_one_that_the_device_can_compute_in():
    assert best_dtype(CPU) in (torch.bfloat16, torch.float32)
    assert best_dtype(torch.device("meta")) == torch.float32
