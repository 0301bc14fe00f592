"""The grid of noise levels that a sampler steps through."""

import torch
from torch import Tensor

from warped_diffusion.errors import UserError


def karras_sigmas(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    r"""Noise levels spaced evenly in s^(1/rho), from `sigma_max` down to `sigma_min`, then 0.        [EDM, eq. 5]

        s_i = (s_max^(1/rho) + i/(steps-1) (s_min^(1/rho) - s_max^(1/rho)))^rho,   s_steps = 0

    Args:
        steps: number of denoiser evaluations, at least 1. With 1 the only level is `sigma_max`.
        sigma_min, sigma_max: the last and the first non-zero level, data units.
        rho: larger puts more levels near `sigma_min`; 1 is even spacing.
    Returns: (steps + 1,) float64, strictly decreasing, on the CPU.
    Raises: UserError if `steps` < 1, `rho` <= 0 or not 0 < sigma_min < sigma_max.
    """
    if steps < 1:
        raise UserError(f"sampling takes at least 1 step, got {steps}: give a larger number of steps")
    if rho <= 0:
        raise UserError(f"rho must be above 0, got {rho}: 7 is the usual choice")
    if not 0 < sigma_min < sigma_max:
        raise UserError(
            f"noise levels must satisfy 0 < sigma_min < sigma_max, got sigma_min {sigma_min} and "
            f"sigma_max {sigma_max}: give the range that the model was trained on"
        )
    if steps == 1:
        return torch.tensor([sigma_max, 0.0], dtype=torch.float64)
    # Both ends are set outright: the power and its root would return them only to rounding.
    ramp = torch.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), steps, dtype=torch.float64) ** rho
    ramp[0], ramp[-1] = sigma_max, sigma_min
    return torch.cat([ramp, ramp.new_zeros(1)])
