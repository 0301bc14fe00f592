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
    spectrum: str | Spectrum | Sequence[str | Spectrum],
    shape: Sequence[int],
    generator: torch.Generator | Sequence[torch.Generator],
    device: torch.device | str | None = None,
) -> Tensor:
    """Independent patches of a Gaussian field of that spectrum on the integer grid: one FFT.

    Args:
        spectrum: a name in `SPECTRA`, or a spectrum; or a sequence of B of them, one for each item.
        shape: (B, C, H, W), or any shape that ends in H, W.
        generator: on the CPU, so that one seed means one noise on every machine; it advances. Or a sequence of B, one
            for each item, so that an item's noise does not depend on the batch that it is in.
        device: where the noise is wanted, and filtered; None for the CPU.
    Returns: float32 of that shape, zero mean, unit variance.
    Raises: UserError for an unknown spectrum, a generator that is not on the CPU, or more or fewer than items.
    """
    *items, height, width = shape
    padded = lattice_size((height, width), (PADDING, PADDING))
    for given in (spectrum, generator):
        if isinstance(given, Sequence) and not isinstance(given, str) and len(given) != items[0]:
            raise UserError(f"{items[0]} items of noise take as many spectra and generators, got {len(given)}")
    if isinstance(generator, torch.Generator):
        white = _white([*items, *padded], generator)
    else:
        white = torch.stack([_white([*items[1:], *padded], one) for one in generator])
    if isinstance(spectrum, str) or not isinstance(spectrum, Sequence):
        half = _half(get_spectrum(spectrum), padded)
    else:
        chosen = [get_spectrum(one) for one in spectrum]
        tables = {id(one): _half(one, padded) for one in chosen}
        half = torch.stack([tables[id(one)] for one in chosen])
        half = half.reshape(len(chosen), *[1] * (len(items) - 1), *half.shape[1:])
    modes = torch.fft.rfft2(white.to(device)) * half.to(device)
    return torch.fft.irfft2(modes, s=padded)[..., :height, :width].contiguous()


def _half(spectrum: Spectrum, size: tuple[int, int]) -> Tensor:
    """The amplitude at the modes of a real transform: (h, w // 2 + 1) float32."""
    return amplitude(spectrum, size)[:, : size[1] // 2 + 1].float()


def _white(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    if generator.device.type != "cpu":
        raise UserError(f"the noise generator is on {generator.device}: make one with torch.Generator() on the CPU")
    return torch.randn(*shape, generator=generator)
