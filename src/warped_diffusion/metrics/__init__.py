"""Measures of noise, restored frames and clips; they judge the method and never import it."""

from warped_diffusion.metrics.image import high_frequency_energy, mse, psnr, spectral_flatness
from warped_diffusion.metrics.noise import (
    band_limited,
    coherence,
    coherence_reference,
    flatness_error,
    ks_distance,
    neighbour_correlation,
    spectrum_distance,
    tiles,
    variance,
    whitened_flatness,
)
from warped_diffusion.metrics.temporal import newly_exposed, warping_error

__all__ = [
    "band_limited",
    "coherence",
    "coherence_reference",
    "flatness_error",
    "high_frequency_energy",
    "ks_distance",
    "mse",
    "neighbour_correlation",
    "newly_exposed",
    "psnr",
    "spectral_flatness",
    "spectrum_distance",
    "tiles",
    "variance",
    "warping_error",
    "whitened_flatness",
]
