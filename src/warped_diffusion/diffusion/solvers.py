r"""One step of the probability-flow ODE, du/ds = (u - h(u, s)) / s, for one frame.             [paper, sec. 3.2]

A solver is a value: a name, the order of convergence that a test measures, and a pure function

    step(noisy, denoised, sigma, sigma_next, history) -> noisy_next

where `history` is the previous step's (denoised, sigma), or None on a frame's first step. Each frame is stepped on its
own, since frames in one batch stand at different noise levels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import TypeAlias

from torch import Tensor

from warped_diffusion.errors import UserError

History: TypeAlias = tuple[Tensor, float]
Step: TypeAlias = Callable[[Tensor, Tensor, float, float, History | None], Tensor]


@dataclass(frozen=True)
class Solver:
    """A numerical method: its name, its order of convergence in the step's size, and its step."""

    name: str
    order: int
    step: Step


def euler_step(noisy: Tensor, denoised: Tensor, sigma: float, sigma_next: float, history: History | None) -> Tensor:
    r"""Keep the estimate of the image, shrink the noise:  u_next = h + (s_next / s)(u - h).     [paper, sec. 3.2]

    The paper prints the step with the opposite sign; this is the one that solves its equation. At `sigma_next` = 0
    the result is `denoised`.
    """
    return denoised + (sigma_next / sigma) * (noisy - denoised)


def dpmpp_2m_step(noisy: Tensor, denoised: Tensor, sigma: float, sigma_next: float, history: History | None) -> Tensor:
    r"""Euler's step with the estimate extrapolated linearly in log s to the step's middle.    [DPM-Solver++, alg. 2]

        h' = h + (h - h_prev) / (2 r),   r = log(s_prev / s) / log(s / s_next)

    Without a history, and for the last step to 0 (infinitely long in log s), it is Euler's step.
    Lu et al.: DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models, 2022.
    """
    if history is not None and sigma_next > 0:
        previous, sigma_previous = history
        r = log(sigma_previous / sigma) / log(sigma / sigma_next)
        denoised = denoised + (denoised - previous) / (2 * r)
    return euler_step(noisy, denoised, sigma, sigma_next, None)


SOLVERS: dict[str, Solver] = {
    solver.name: solver
    for solver in (
        Solver("euler", order=1, step=euler_step),
        Solver("dpmpp-2m", order=2, step=dpmpp_2m_step),
    )
}


def get_solver(name: str) -> Solver:
    """The solver of that name. Raises UserError, which lists the names, if there is none."""
    if name not in SOLVERS:
        raise UserError(f"no solver is called {name!r}: choose one of {', '.join(SOLVERS)}")
    return SOLVERS[name]
