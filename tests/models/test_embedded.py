"""The embedded denoiser: preconditioning, labels, any size, its file."""

import json

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

from tests.models.tiny import SHALLOW, randn, tiny_denoiser
from warped_diffusion.diffusion import precondition
from warped_diffusion.errors import UserError
from warped_diffusion.models import embedded
from warped_diffusion.models.conditioning import CONDITIONINGS, enlargement_deviation
from warped_diffusion.models.embedded import EmbeddedDenoiser
from warped_diffusion.noise import SPECTRA


def condition(height, width):
    """Four items of four kinds: 8x, 4x, 2x, and nothing known."""
    picture = randn(4, 3, height, width, seed=3) * 0.4
    picture[3] = 0
    return {
        "picture": picture,
        "scale": torch.tensor([8.0, 4.0, 2.0, 0.0]),
        "spectrum": torch.tensor([0, 1, 1, 0]),
    }


SIGMA = torch.tensor([2.0, 0.3, 0.01, 1.0])


def test_a_fresh_denoiser_is_the_preconditioned_identity():
    """h = c + c_skip (u - c), the best that can be said of a residual of which only the variance is known."""
    c, u = condition(16, 24), randn(4, 3, 16, 24)
    skip = precondition.c_skip(SIGMA, enlargement_deviation(c["scale"]))[:, None, None, None]
    expected = c["picture"] + skip * (u - c["picture"])
    torch.testing.assert_close(EmbeddedDenoiser(SHALLOW)(u, SIGMA, c), expected, rtol=0, atol=1e-6)


def test_spectra_are_numbered_as_the_noise_registers_them():
    assert tuple(SPECTRA) == embedded.SPECTRA


def test_a_batch_of_four_equals_four_of_one():
    denoiser, c, u = tiny_denoiser(), condition(24, 16), randn(4, 3, 24, 16)
    together = denoiser(u, SIGMA, c)
    alone = [
        denoiser(u[i : i + 1], SIGMA[i : i + 1], {name: value[i : i + 1] for name, value in c.items()})
        for i in range(4)
    ]
    # float32; a batch's convolutions may round otherwise than an item's
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)


def test_an_odd_frame_is_restored_as_if_its_edge_went_on():
    denoiser, c, u = tiny_denoiser(), condition(21, 35), randn(4, 3, 21, 35)
    odd = denoiser(u, SIGMA, c)
    assert odd.shape == u.shape
    full = {**c, "picture": F.pad(c["picture"], (0, 1, 0, 3), mode="replicate")}
    even = denoiser(F.pad(u, (0, 1, 0, 3), mode="replicate"), SIGMA, full)
    torch.testing.assert_close(odd, even[..., :21, :35], rtol=0, atol=1e-5)


def test_the_network_may_be_of_half_precision_while_the_estimate_is_not():
    """At the lowest level h is u to within c_out, so that a network in bfloat16 cannot lose the picture's detail."""
    denoiser, c, u = tiny_denoiser(), condition(16, 16), randn(4, 3, 16, 16)
    full = denoiser(u, SIGMA, c)
    low = denoiser.to(torch.bfloat16)(u, SIGMA, c)
    assert low.dtype == torch.float32
    scale = precondition.c_out(SIGMA, enlargement_deviation(c["scale"]))
    error = (low - full).square().mean((1, 2, 3)).sqrt() / scale
    assert error.max() < 0.03  # eight bits, a dozen layers, outputs of about .3


def test_saved_weights_come_back_in_half_precision_with_what_was_said_of_them(tmp_path):
    denoiser, path = tiny_denoiser(), tmp_path / "weights.safetensors"
    embedded.save(denoiser, path, {"task": "super-resolution", "steps": 7})
    loaded = embedded.load(path)
    assert (loaded.architecture, loaded.task) == (SHALLOW, "super-resolution")
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    for name, value in denoiser.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float()), name
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["about"]) == {"task": "super-resolution", "steps": 7}
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_a_file_that_holds_no_weights_is_one_sentence(tmp_path):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(UserError, match="is not a file of embedded weights"):
        embedded.load(path)
    path.write_text("a letter")
    with pytest.raises(UserError, match="is not a file of embedded weights"):
        embedded.load(path)


def test_a_file_says_its_task_and_one_that_does_not_is_of_the_first(tmp_path):
    path = tmp_path / "weights.safetensors"
    embedded.save(tiny_denoiser(task="inpainting"), path, {})
    assert embedded.load(path).task == "inpainting"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    older = {name: value.half() for name, value in tiny_denoiser().network.state_dict().items()}
    save_file(older, path, metadata={name: value for name, value in metadata.items() if name != "task"})
    assert embedded.load(path).task == "super-resolution"


@pytest.mark.parametrize("task", CONDITIONINGS)
def test_weights_taken_over_do_what_they_did(tmp_path, task):
    """Inputs that the older network did not have start without a say; the others are the same planes."""
    given, path = tiny_denoiser(), tmp_path / "weights.safetensors"
    embedded.save(given, path, {})
    denoiser = EmbeddedDenoiser(SHALLOW, task)
    embedded.take_over(denoiser, path)
    planes, labels = randn(2, denoiser.conditioning.channels, 16, 16), randn(2, 16, seed=1)
    expected = embedded.load(path).predict(planes[:, :6], labels)
    torch.testing.assert_close(denoiser.predict(planes, labels), expected, rtol=0, atol=1e-5)
    with pytest.raises(UserError, match=r"which one for inpainting of .* cannot take over"):
        embedded.take_over(EmbeddedDenoiser({**SHALLOW, "depths": (2, 1)}, "inpainting"), path)


def test_weights_of_more_inputs_cannot_be_taken_over(tmp_path):
    embedded.save(tiny_denoiser(task="inpainting"), tmp_path / "w.safetensors", {})
    with pytest.raises(UserError, match="holds a network for inpainting"):
        embedded.take_over(EmbeddedDenoiser(SHALLOW), tmp_path / "w.safetensors")


def test_a_task_without_a_conditioning_is_one_sentence():
    with pytest.raises(UserError, match="knows the tasks super-resolution, inpainting, clean-up, got 'juggling'"):
        EmbeddedDenoiser(SHALLOW, "juggling")
