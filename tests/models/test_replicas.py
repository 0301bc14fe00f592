"""Replicas in processes: two on the CPU stand in for two GPUs."""

import pytest
import torch

import warped_diffusion as wd
from tests.models.tiny import tiny_denoiser
from warped_diffusion.errors import UserError
from warped_diffusion.models import embedded, replicas
from warped_diffusion.models.replicas import InProcess
from warped_diffusion.options import choose_devices

ROUNDING = 2e-3
"""Half a level of 255: batches of another size, of a network in bfloat16 where the processor multiplies that."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    embedded.save(tiny_denoiser(), path, {})
    return path


def test_two_processes_restore_the_clip_that_one_does(weights):
    low = torch.rand(4, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    usual = {"scale": 2, "model": weights, "steps": 3, "flow": "dis", "lanes": 4}
    one, two = (wd.restore(low, device=device, **usual) for device in ("cpu", "cpu,cpu"))
    plain = wd.restore(low, device="cpu", **usual | {"lanes": 1})
    torch.testing.assert_close(two, one, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(two, plain, rtol=0, atol=ROUNDING)


def test_a_replica_tells_what_went_wrong_and_goes_on_and_ends(weights):
    replica = InProcess(str(weights), "super-resolution")
    noisy, sigma = torch.zeros(1, 3, 8, 8), torch.ones(1)
    condition = {"picture": noisy, "scale": torch.tensor([2.0]), "spectrum": torch.tensor([0])}
    with pytest.raises(RuntimeError, match="replica's process: KeyError"):
        replica(noisy, sigma, {})
    expected = embedded.load(weights)
    with torch.no_grad():
        torch.testing.assert_close(
            replica(noisy, sigma, condition), expected(noisy, sigma, condition), atol=1e-2, rtol=0
        )
    replica.close()
    with pytest.raises(RuntimeError, match="has died"):
        replica(noisy, sigma, condition)


def test_devices_are_of_one_kind_and_a_model_can_be_loaded_again():
    assert choose_devices("cpu, cpu") == [torch.device("cpu")] * 2
    with pytest.raises(UserError, match="one kind"):
        choose_devices("cpu,meta")
    with pytest.raises(UserError, match="given twice"):
        choose_devices("meta,meta")
    with pytest.raises(UserError, match="loaded on each"):
        replicas([torch.device("cpu")], tiny_denoiser(), "super-resolution")
