r"""What networks are trained to predict, in the contract's coordinates u = x_0 + s n.                    [DESIGN §2]

A network sees x_t, a rescaled u, and a time; what it predicts is turned into the denoised image h. s is (B, 1, 1, 1).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Parameterisation(Protocol):
    """How a network's input, time and output relate to u, s and h."""

    def scale(self, sigma: Tensor) -> Tensor:
        """x_t / u, of the shape of `sigma`."""
        ...

    def time(self, sigma: Tensor) -> Tensor:
        """The noise level as the network is told it: (B,) -> (B,) float32."""
        ...

    def denoised(self, noisy: Tensor, sigma: Tensor, prediction: Tensor) -> Tensor:
        """h of u and what the network predicted: (B, C, H, W), sigma (B, 1, 1, 1) -> (B, C, H, W)."""
        ...


def _epsilon(u: Tensor, s: Tensor, epsilon: Tensor) -> Tensor:
    return u - s * epsilon


def _velocity(u: Tensor, s: Tensor, v: Tensor) -> Tensor:
    """v = (n - s x_0) / sqrt(s^2 + 1)"""
    return u / (s**2 + 1) - s * (s**2 + 1).rsqrt() * v


def _sample(u: Tensor, s: Tensor, x: Tensor) -> Tensor:
    return x


PREDICTIONS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": _epsilon,
    "v_prediction": _velocity,
    "sample": _sample,
}
"""h of (u, s, prediction), by the name that a scheduler's `prediction_type` gives it."""

TARGETS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": lambda x, s, n: n,
    "v_prediction": lambda x, s, n: (n - s * x) * (s**2 + 1).rsqrt(),
    "sample": lambda x, s, n: x,
}
"""What a perfect prediction is, of (x_0, s, n): what `PREDICTIONS` turns into h = x_0."""


@dataclass(frozen=True, eq=False)
class Discrete:
    r"""Variance-preserving diffusion in numbered steps:  x_t = u / sqrt(s^2 + 1),  s_t = sqrt((1 - a_t) / a_t).

    Attributes:
        table: (T,) float64, s of the steps 0, 1, ..., rising.
        prediction: a name in `PREDICTIONS`.
    """

    table: Tensor
    prediction: str

    def scale(self, sigma: Tensor) -> Tensor:
        return (sigma**2 + 1).rsqrt()

    def time(self, sigma: Tensor) -> Tensor:
        """The step, a fraction between two of them: linear in log s, the ends of the table beyond it."""
        levels, level = self.table.log().to(sigma.device), sigma.double().log()
        above = torch.searchsorted(levels, level).clamp(1, len(levels) - 1)
        low, high = levels[above - 1], levels[above]
        return (above - 1 + ((level - low) / (high - low)).clamp(0, 1)).float()

    def denoised(self, noisy: Tensor, sigma: Tensor, prediction: Tensor) -> Tensor:
        return PREDICTIONS[self.prediction](noisy, sigma, prediction)

    def target(self, clean: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
        """What the network is trained to predict of u = x_0 + s n: x_0 and n (B, C, H, W), sigma (B, 1, 1, 1)."""
        return TARGETS[self.prediction](clean, sigma, noise)


@dataclass(frozen=True)
class Flow:
    r"""Flow matching:  x_t = (1 - t) x_0 + t n = u / (1 + s),  t = s / (1 + s);  of v = n - x_0,  h = x_t - t v.

    Attributes:
        steps: what the network is told at t = 1.
    """

    steps: int = 1000

    def scale(self, sigma: Tensor) -> Tensor:
        return 1 / (1 + sigma)

    def time(self, sigma: Tensor) -> Tensor:
        return (self.steps * sigma / (1 + sigma)).float()

    def denoised(self, noisy: Tensor, sigma: Tensor, prediction: Tensor) -> Tensor:
        return (noisy - sigma * prediction) / (1 + sigma)


LAST = 1 - 2.0**-20
"""The largest t that has an s: 10^6, where an image of unit size is drowned to float32's own rounding."""


def flow_sigma(t: Tensor) -> Tensor:
    """s = t / (1 - t) in float64, finite at t = 1 too, where it is 10^6."""
    t = t.double().clamp(max=LAST)
    return t / (1 - t)
