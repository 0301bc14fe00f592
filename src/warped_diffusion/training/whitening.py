"""Errors of an estimate, counted in the noise's own metric.

Under correlated noise the finest detail is decided where it stands out from little noise, while the coarse noise around
it makes nearly all of the mean squared error, so a network is hardly asked about it: fine-tuned by the plain error,
samples had a seventh less high-frequency energy than under white noise. With |C^(-p/2) (h - x)|^2, C the noise's
covariance, every frequency counts by how much noise there is to see it through; p = 1 is the noise's own metric. The
minimiser is E[x | u] for every p, and for white noise nothing changes.
"""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from warped_diffusion.noise import get_spectrum
from warped_diffusion.noise.lattice import amplitude

FAINTEST = 0.05
"""Of the noise's mean amplitude: modes with less than that count as if they had so much."""


def mean_square(errors: Tensor, spectra: Sequence[str], power: float) -> Tensor:
    """Of each item the mean of its squared errors, frequencies weighted by C^-power, rescaled to a mean of 1.

    Args:
        errors: (B, C, H, W).
        spectra: the name of each item's noise.
        power: p, from 0, all alike, to 1.
    Returns: (B,) float32.
    """
    if not power:
        return errors.square().mean((1, 2, 3))
    size = (errors.shape[-2], errors.shape[-1])
    weights = torch.stack([_weights(name, size, power) for name in spectra]).to(errors.device)
    modes = torch.fft.fft2(errors.float(), norm="ortho")
    return (torch.view_as_real(modes).square().sum(-1) * weights[:, None]).mean((1, 2, 3))


@cache
def _weights(spectrum: str, size: tuple[int, int], power: float) -> Tensor:
    weights = amplitude(get_spectrum(spectrum), size).clamp(min=FAINTEST).float() ** (-2 * power)
    return weights / weights.mean()
