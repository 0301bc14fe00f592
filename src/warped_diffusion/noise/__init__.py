"""The random function behind a video's noise, and the schemes that hand it to the frames."""

from warped_diffusion.noise.field import REPRESENTATIONS, GaussianField
from warped_diffusion.noise.grid import grid_noise
from warped_diffusion.noise.schemes import SCHEMES, Scheme, make_scheme
from warped_diffusion.noise.spectra import SPECTRA, Spectrum, SquaredExponential, White, get_spectrum

__all__ = [
    "REPRESENTATIONS",
    "SCHEMES",
    "SPECTRA",
    "GaussianField",
    "Scheme",
    "Spectrum",
    "SquaredExponential",
    "White",
    "get_spectrum",
    "grid_noise",
    "make_scheme",
]
