"""Every kind of prediction against the best one for Gaussian data, which is known in closed form."""

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from torch import Tensor

from tests.models.pretrained.checkpoints import BETAS
from tests.models.tiny import randn
from warped_diffusion.errors import UserError
from warped_diffusion.models.pretrained.denoiser import PretrainedDenoiser, Text
from warped_diffusion.models.pretrained.options import PretrainedOptions
from warped_diffusion.models.pretrained.parameterisation import PREDICTIONS, Discrete, Flow, flow_sigma

KEPT = EulerDiscreteScheduler(**BETAS).alphas_cumprod.double()
TABLE = ((1 - KEPT) / KEPT).sqrt()

DEVIATION = 0.7
"""Of the data, independent from pixel to pixel."""

NO_WORDS = Text(torch.zeros(1, 1, 1))


class Best:
    """What a network with nothing left to learn predicts of x_t = a x_0 + b n, with a and b those of its own time."""

    def __init__(self, prediction: str) -> None:
        self.prediction = prediction

    def __call__(self, x: Tensor, time: Tensor, text: Text) -> Tensor:
        time = time.double()[:, None, None, None]
        if self.prediction == "flow":
            a, b = 1 - time / 1000, time / 1000
        else:
            kept = KEPT[time.round().long()]
            a, b = kept.sqrt(), (1 - kept).sqrt()
        variance = (a * DEVIATION) ** 2 + b**2
        clean, noise = a * DEVIATION**2 * x / variance, b * x / variance
        best = {"sample": clean, "epsilon": noise, "v_prediction": a * noise - b * clean, "flow": noise - clean}
        return best[self.prediction]


@pytest.mark.parametrize("prediction", [*PREDICTIONS, "flow"])
def test_the_best_prediction_of_gaussian_data_gives_the_best_estimate(prediction):
    parameterisation = Flow() if prediction == "flow" else Discrete(TABLE, prediction)
    sigma = TABLE[[0, 17, 400, 801, 999]]
    u = sigma[:, None, None, None] * randn(5, 2, 4, 4, dtype=torch.float64)
    h = PretrainedDenoiser(Best(prediction), parameterisation, NO_WORDS)(u, sigma, {})
    shrunk = DEVIATION**2 / (DEVIATION**2 + sigma**2)
    # the prediction and the time pass through float32
    torch.testing.assert_close(h.double(), u * shrunk[:, None, None, None], rtol=0, atol=1e-5)


def test_the_step_is_the_schedulers_own():
    euler = EulerDiscreteScheduler(**BETAS)
    sigma = torch.cat([TABLE[::37], torch.logspace(-3, 2, 40, dtype=torch.float64)])
    expected = euler._sigma_to_t(sigma.numpy(), np.log(TABLE.numpy()))
    step = Discrete(TABLE, "epsilon").time(sigma)
    assert step.dtype == torch.float32
    torch.testing.assert_close(step.double(), torch.from_numpy(expected), rtol=0, atol=1e-4)  # float32, up to 999
    assert step.min() == 0
    assert step.max() == 999


def test_a_flows_level_and_time_are_inverse_and_finite_at_the_start():
    t = torch.tensor([0.0, 0.003, 0.5, 0.999, 1.0])
    sigma = flow_sigma(t)
    assert sigma.isfinite().all()
    assert sigma[0] == 0
    torch.testing.assert_close(Flow().time(sigma), 1000 * t, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cfg": -1.0}, "cfg is a number from 0 up"),
        ({"cfg": float("nan")}, "cfg is a number from 0 up"),
        ({"dtype": "int8"}, "dtype is one of auto, bf16, fp16, fp32, got 'int8'"),
        ({"offload": "disk"}, "offload is one of none, model, sequential, got 'disk'"),
    ],
)
def test_options_of_no_sense_are_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        PretrainedOptions(**wrong)
