"""A network that was trained with noise of one spectrum restores with that noise, and breaks with another's.

Both noises have unit variance, and the network is told the same of both: what breaks it is the spectrum alone. Errors
are mean squares over six pictures; the bounds leave a third or more of the factors that were measured, which stand
beside them.
"""

import importlib
from functools import partial

import numpy as np
import pytest
import torch

from tests.training.packed import SIZES, pack, texture, tiny_config
from warped_diffusion.metrics import high_frequency_energy
from warped_diffusion.models import load_model
from warped_diffusion.models.conditioning import enlargement_deviation
from warped_diffusion.noise import SPECTRA, grid_noise
from warped_diffusion.restore import restore
from warped_diffusion.tasks import SuperResolution
from warped_diffusion.training import train

pytestmark = pytest.mark.slow

told = importlib.import_module("warped_diffusion.bench.zero_shot").told

TASK, SCALE = "super-resolution", 8
WHITE, SMOOTH = "white", "squared-exponential"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Enough pictures for a tiny network not to learn them by heart."""
    folder = tmp_path_factory.mktemp("one-spectrum")
    pack(folder / "pictures", 12 * SIZES)
    return folder


@pytest.fixture(scope="module")
def truth():
    """Six pictures of the same kind that no run has seen: (6, 3, 96, 96)."""
    generator = np.random.default_rng(1)
    made = [torch.from_numpy(texture(96, 96, generator).transpose(2, 0, 1) / 255).float() for _ in range(6)]
    return torch.stack(made)


def trained(folder, spectrum):
    """A model after two thousand steps on that spectrum alone (forty seconds), told of it whatever it is given."""
    config = tiny_config(
        folder,
        out=str(folder / spectrum),
        spectra=(spectrum,),
        scales=(SCALE,),
        scale_shares=(1.0,),
        drop=0.0,
        steps=2000,
        batch=8,
        crop=32,
        rate=2e-3,
        warmup=50,
        checkpoint_every=2000,
        level_mean=0.0,
        level_spread=1.2,
        network={"channels": (24, 48), "depths": (1, 2), "depths_up": (1, 0)},
    )
    return told(load_model(train(config), TASK, torch.device("cpu")), spectrum)


def of_spectra(measure):
    return {spectrum: measure(spectrum) for spectrum in SPECTRA}


def error(estimate, truth):
    return float((estimate - truth).square().mean())


def sampled(model, truth, spectrum):
    """A sample for each picture, every one from noise of its own."""
    low = SuperResolution(SCALE).degrade(truth)
    asked = {"noise": "resample", "spectrum": spectrum, "guidance": "none", "cuts": "none", "device": "cpu"}
    return restore(low, scale=SCALE, model=model, **asked)


def one_step(model, truth, level, spectrum):
    """The estimate of the truth under noise of `level` deviations of what the enlargement misses, in [0, 1]."""
    condition = dict(SuperResolution(SCALE).condition(SuperResolution(SCALE).degrade(truth)))
    condition["spectrum"] = torch.zeros(len(truth), dtype=torch.long)  # the model is told another
    sigma = level * enlargement_deviation(condition["scale"])
    noise = grid_noise(spectrum, truth.shape, torch.Generator().manual_seed(1))
    denoised = model.denoiser(truth * 2 - 1 + sigma[:, None, None, None] * noise, sigma, condition)
    return (denoised + 1) / 2


def enlarged(truth):
    task = SuperResolution(SCALE)
    return (task.condition(task.degrade(truth))["picture"] + 1) / 2


def test_smooth_noise_breaks_a_network_trained_on_white_noise(pictures, truth):
    model, base = trained(pictures, WHITE), error(enlarged(truth), truth)
    samples = of_spectra(partial(sampled, model, truth))
    errors = {spectrum: error(clip, truth) for spectrum, clip in samples.items()}
    assert errors[WHITE] < 2 * base  # 1.5; a sample's error is up to twice the best estimate's
    assert errors[SMOOTH] > 2.4 * errors[WHITE]  # 3.6
    detail = {spectrum: float(high_frequency_energy(clip).mean()) for spectrum, clip in samples.items()}
    assert detail[SMOOTH] > 2.2 * detail[WHITE]  # 3.5

    for level, factor in ((1.0, 1.2), (3.0, 1.5)):  # 1.5, 2.2
        steps = of_spectra(lambda spectrum, level=level: error(one_step(model, truth, level, spectrum), truth))
        assert steps[WHITE] < 0.95 * base, level  # 0.43, 0.81: it sees through the noise
        assert steps[SMOOTH] > factor * steps[WHITE], level
    assert steps[SMOOTH] > 1.2 * base  # 1.8: worse than if it had said nothing


def test_white_noise_leaves_grain_with_a_network_trained_on_smooth_noise(pictures, truth):
    """No error to speak of: it takes the highest frequencies, where its noise has none, for detail."""
    model = trained(pictures, SMOOTH)
    samples = of_spectra(partial(sampled, model, truth))
    assert error(samples[SMOOTH], truth) < 2 * error(enlarged(truth), truth)  # 1.6
    detail = {spectrum: float(high_frequency_energy(clip).mean()) for spectrum, clip in samples.items()}
    assert detail[WHITE] > 2 * detail[SMOOTH]  # 3.2
