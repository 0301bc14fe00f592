"""Measures of restored frames and clips; they judge the method and never import it."""

from warped_diffusion.metrics.image import high_frequency_energy, mse, psnr, spectral_flatness
from warped_diffusion.metrics.temporal import newly_exposed, warping_error

__all__ = ["high_frequency_energy", "mse", "newly_exposed", "psnr", "spectral_flatness", "warping_error"]
