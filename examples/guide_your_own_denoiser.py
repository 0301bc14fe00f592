"""A denoiser of your own, restored with and without guidance: any callable of that signature will do.

python examples/guide_your_own_denoiser.py
"""

from collections.abc import Mapping

import torch
from torch import Tensor

import warped_diffusion as wd

BLOCK = 8


def denoise(noisy: Tensor, sigma: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
    """Keep what stands out of the noise: large coefficients of every block's Fourier transform.

    (B, 3, H, W) in [-1, 1] plus noise of deviation `sigma`, (B,) -> an estimate of the clean picture. It makes up
    texture, and its blocks stand still while the picture moves: alone it flickers.
    """
    enlarged = condition["picture"]  # the input, brought to the output's size
    rows = (noisy - enlarged).unflatten(-1, (-1, BLOCK)).unflatten(-3, (-1, BLOCK))
    waves = torch.fft.rfft2(rows, dim=(-3, -1), norm="ortho")
    kept = waves * (waves.abs() > 1.5 * sigma.reshape(-1, *[1] * (waves.ndim - 1)))
    found = torch.fft.irfft2(kept, s=(BLOCK, BLOCK), dim=(-3, -1), norm="ortho")
    return enlarged + found.flatten(-4, -3).flatten(-2, -1)


def main() -> None:
    model = wd.Model(
        denoise,
        spectra=("white",),  # the noise that it expects
        sigma_range=lambda condition: (0.02, 0.3),
        start=lambda condition: condition["picture"],
    )
    size, scale, count = (64, 96), 2, 8
    motion = wd.Motion.analytic(count, size, shift=(1.4, 0.6))
    picture = wd.GaussianField(3, size, "squared-exponential", seed=1)
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    grid = torch.stack([x, y], dim=-1).double()
    clip = torch.stack([picture((grid - j * torch.tensor([1.4, 0.6])) / 3) for j in range(count)])
    clip = (0.5 + 0.15 * clip).clamp(0, 1)  # a smooth pattern, shifted by (1.4, 0.6) pixels a frame
    small = wd.degrade(clip, scale=scale)

    for guidance in ("none", "denoised"):
        restored = wd.restore(small, scale=scale, model=model, guidance=guidance, steps=12, motion=motion)
        error = wd.warping_error(restored, motion, reference="previous")
        print(f"guidance {guidance:9} error to the previous frame {error * 1e4:.2f}e-4")


if __name__ == "__main__":
    main()
