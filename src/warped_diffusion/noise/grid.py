"""Noise on the pixel grid for training: the same spectra, no positions, many items at once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.noise.lattice import amplitude, lattice_size
from warped_diffusion.noise.spectra import Spectrum, get_spectrum

PADDING = 8
"""Pixels drawn beyond each side and cut away again, without which a patch's opposite edges would be neighbours."""


def grid_noise(
    spectrum: str | Spectrum,
    shape: Sequence[int],
    generator: torch.Generator,
    device: torch.device | str | None = None,
) -> Tensor:
    """Independent patches of a Gaussian field of that spectrum on the integer grid: one FFT.

    Args:
        spectrum: a name in `SPECTRA`, or a spectrum.
        shape: (B, C, H, W), or any shape that ends in H, W.
        generator: on the CPU, so that one seed means one noise on every machine; it advances.
        device: where the noise is wanted; None for the CPU.
    Returns: float32 of that shape, zero mean, unit variance.
    Raises: UserError for an unknown spectrum, or a generator that is not on the CPU.
    """
    if generator.device.type != "cpu":
        raise UserError(f"the noise generator is on {generator.device}: make one with torch.Generator() on the CPU")
    *items, height, width = shape
    padded = lattice_size((height, width), (PADDING, PADDING))
    modes = torch.fft.rfft2(torch.randn(*items, *padded, generator=generator))
    half = amplitude(get_spectrum(spectrum), padded)[:, : modes.shape[-1]].float()
    return torch.fft.irfft2(modes * half, s=padded)[..., :height, :width].contiguous().to(device)
