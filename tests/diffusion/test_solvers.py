r"""Solvers against probability flows that are known in closed form: Gaussian data.

For u_0 ~ N(mu, S) and noise of covariance Q the estimate is E[u_0 | u] = mu + S (S + s^2 Q)^-1 (u - mu), and the flow
carries N(mu, S + s^2 Q) along; for one scalar,  u(s) = mu + (u_T - mu) sqrt((S + s^2) / (S + s_T^2)).
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from warped_diffusion.diffusion import SOLVERS, get_solver, karras_sigmas
from warped_diffusion.errors import UserError

MU, S = 0.3, 0.25
SIGMA_MIN, SIGMA_MAX = 0.02, 10.0
EVERY_SOLVER = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
# The slope is fitted where the leading term of the error rules; what is left of the next term, and of the first-order
# first step of the multistep method, moves it by less than this.
SLOPE_TOLERANCE = 0.15


def solve(solver, denoise, u, sigmas):
    """Step one frame through the levels, as plainly as can be."""
    levels, history = sigmas.tolist(), None
    for s, s_next in pairwise(levels):
        h = denoise(u, s)
        u, history = solver.step(u, h, s, s_next, history), (h, s)
    return u


def scalar_denoise(u, s):
    return MU + S / (S + s**2) * (u - MU)


def exact(u, s, s_next):
    return MU + (u - MU) * math.sqrt((S + s_next**2) / (S + s**2))


def random_covariance(size, seed):
    factor = torch.randn(size, 2 * size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return factor @ factor.T / (2 * size)


def karras_grid(steps):
    return karras_sigmas(steps + 1, SIGMA_MIN, SIGMA_MAX)[:-1]


def uneven_grid(steps):
    """Widths in log s that alternate 1 : 2, where a multistep method that mistakes their ratio loses its order."""
    widths = torch.tensor([1.0, 2.0], dtype=torch.float64).repeat(steps // 2)
    fallen = torch.cat([widths.new_zeros(1), widths.cumsum(0) / widths.sum()])
    return SIGMA_MAX * (SIGMA_MIN / SIGMA_MAX) ** fallen


@EVERY_SOLVER
@pytest.mark.parametrize("grid", [karras_grid, uneven_grid])
def test_order_of_convergence(solver, grid):
    start = torch.tensor([9.0, -4.0], dtype=torch.float64)
    end = exact(start, SIGMA_MAX, SIGMA_MIN)
    steps = np.array([64, 128, 256, 512])
    errors = [(solve(solver, scalar_denoise, start, grid(n)) - end).abs().max().item() for n in steps]
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(solver.order, abs=SLOPE_TOLERANCE)


@EVERY_SOLVER
def test_last_step_to_zero_gives_the_estimate(solver):
    u, h, previous = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(solver.step(u, h, 0.1, 0.0, (previous, 0.2)), h, rtol=0, atol=0)


@EVERY_SOLVER
def test_constant_estimate_is_solved_exactly(solver):
    """With h constant the flow is a straight line in s, whatever the steps."""
    start, h = torch.tensor([2.0, -1.0], dtype=torch.float64), torch.tensor([0.5, 0.1], dtype=torch.float64)
    end = solve(solver, lambda u, s: h, start, torch.tensor([5.0, 3.0, 0.7, 0.1]))
    torch.testing.assert_close(end, h + 0.1 / 5.0 * (start - h), rtol=1e-6, atol=0)


def test_generalised_tweedie():
    """Q grad log p(u) = (E[u_0 | u] - u) / s^2: the score by autograd, the mean by conditioning the joint Gaussian."""
    size, s = 6, 0.7
    prior, noise = random_covariance(size, 1), random_covariance(size, 2)
    mean, u = torch.randn(2, size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    u.requires_grad_()
    marginal = torch.distributions.MultivariateNormal(mean, prior + s**2 * noise)
    (score,) = torch.autograd.grad(marginal.log_prob(u), u)
    joint = torch.cat([torch.cat([prior, prior], 1), torch.cat([prior, prior + s**2 * noise], 1)])
    precision = torch.linalg.inv(
        joint
    )  # the conditional mean from the joint precision: no formula shared with the solver
    conditional = mean - torch.linalg.solve(precision[:size, :size], precision[:size, size:] @ (u - mean))
    torch.testing.assert_close(noise @ score, (conditional - u).detach() / s**2, rtol=1e-8, atol=1e-8)


@EVERY_SOLVER
def test_correlated_noise_is_carried_to_the_prior(solver):
    """The solver knows nothing of Q, yet takes N(mu, S + s^2 Q) from one level to the other: Tweedie carries Q."""
    size = 5
    prior, noise = random_covariance(size, 4), random_covariance(size, 5)

    def denoise(u, s):  # columns of u are deviations from the mean: the whole linear map at once
        return prior @ torch.linalg.solve(prior + s**2 * noise, u)

    identity = torch.eye(size, dtype=torch.float64)
    carried = solve(solver, denoise, identity, karras_sigmas(2001, SIGMA_MIN, SIGMA_MAX)[:-1])
    covariance = carried @ (prior + SIGMA_MAX**2 * noise) @ carried.T
    # 2000 steps leave an error of about 7 ln(s_max / s_min) / 2000, one per cent or so, for the first-order method.
    tolerance = {1: 0.02, 2: 2e-4}[solver.order]
    expected = prior + SIGMA_MIN**2 * noise
    assert torch.linalg.norm(covariance - expected) < tolerance * torch.linalg.norm(expected)


def test_unknown_solver_lists_the_known_ones():
    with pytest.raises(UserError, match=r"'rk4'.*euler, dpmpp-2m"):
        get_solver("rk4")
