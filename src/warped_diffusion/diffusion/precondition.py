r"""EDM preconditioning: a network F with inputs and targets of unit variance at every noise level.

    D(u; sigma) = c_skip(sigma) u + c_out(sigma) F(c_in(sigma) u; c_noise(sigma))                          [EDM, eq. 7]

Karras, Aittala, Aila and Laine: Elucidating the Design Space of Diffusion-Based Generative Models, 2022, table 1.
`sigma` is any tensor of positive noise levels, `sigma_data` the standard deviation of what D predicts, one number or
one per level; both in data units. Each function keeps the shape, dtype and device of `sigma`.
"""

from torch import Tensor


def c_skip(sigma: Tensor, sigma_data: float | Tensor) -> Tensor:
    """How much of the noisy image passes by the network: s_d^2 / (s^2 + s_d^2)."""
    return sigma_data**2 / (sigma**2 + sigma_data**2)


def c_out(sigma: Tensor, sigma_data: float | Tensor) -> Tensor:
    """Scale of the network's output: s s_d / sqrt(s^2 + s_d^2)."""
    return sigma * sigma_data / (sigma**2 + sigma_data**2).sqrt()


def c_in(sigma: Tensor, sigma_data: float | Tensor) -> Tensor:
    """Scale of the network's input: 1 / sqrt(s^2 + s_d^2)."""
    return (sigma**2 + sigma_data**2).rsqrt()


def c_noise(sigma: Tensor) -> Tensor:
    """The noise level as the network is told it: ln(s) / 4."""
    return sigma.log() / 4


def loss_weight(sigma: Tensor, sigma_data: float | Tensor) -> Tensor:
    """Weight of |D - u_0|^2 that gives F a loss of unit scale at every level: 1 / c_out^2."""
    return c_out(sigma, sigma_data).pow(-2)
