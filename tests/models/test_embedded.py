"""The embedded denoiser: preconditioning, labels, any size, its file."""

import json

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from tests.models.tiny import SHALLOW, randn, tiny_denoiser
from warped_diffusion.diffusion import precondition
from warped_diffusion.errors import UserError
from warped_diffusion.models import embedded
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
    skip = precondition.c_skip(SIGMA, embedded.sigma_data(c["scale"]))[:, None, None, None]
    expected = c["picture"] + skip * (u - c["picture"])
    torch.testing.assert_close(EmbeddedDenoiser(SHALLOW)(u, SIGMA, c), expected, rtol=0, atol=1e-6)


def test_the_residuals_deviation_by_factor():
    scale = torch.tensor([2.0, 4.0, 8.0, 0.0])
    torch.testing.assert_close(embedded.sigma_data(scale), torch.tensor([0.085, 0.14, 0.195, 0.5]))
    low, high = embedded.sigma_range(8)
    assert (low, high) == pytest.approx((0.195 / 40, 0.195 * 60))


def test_labels_tell_level_factor_and_spectrum_apart():
    rows = [
        embedded.labels(torch.tensor([level]), torch.tensor([scale]), torch.tensor([spectrum]))[0]
        for level in (0.03, 0.5, 1.0, 12.0)
        for scale in (0.0, 2.0, 4.0, 8.0)
        for spectrum in (0, 1)
    ]
    assert torch.stack(rows).isfinite().all()
    assert torch.pdist(torch.stack(rows)).min() > 0.1


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
    scale = precondition.c_out(SIGMA, embedded.sigma_data(c["scale"]))
    error = (low - full).square().mean((1, 2, 3)).sqrt() / scale
    assert error.max() < 0.03  # eight bits, a dozen layers, outputs of about .3


def test_saved_weights_come_back_in_half_precision_with_what_was_said_of_them(tmp_path):
    denoiser, path = tiny_denoiser(), tmp_path / "weights.safetensors"
    embedded.save(denoiser, path, {"task": "super-resolution", "steps": 7})
    loaded = embedded.load(path)
    assert loaded.architecture == SHALLOW
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
