"""A random function, read on a grid and on the same grid moved: noise both times, and the same noise.

python examples/field_on_a_grid.py
"""

import torch

import warped_diffusion as wd
from warped_diffusion.metrics import neighbour_correlation, whitened_flatness

SIZE = (96, 128)  # height, width


def grid(shift: tuple[float, float] = (0.0, 0.0)) -> torch.Tensor:
    """Absolute positions, pixels, x right before y down: (H, W, 2)."""
    y, x = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    return torch.stack([x + shift[0], y + shift[1]], dim=-1)


def main() -> None:
    field = wd.GaussianField(channels=4, size=SIZE, spectrum="white", seed=0)
    here = field(grid())  # (channels, H, W); the same as field.grid()
    shifts = {"as it is": (0.0, 0.0), "half a pixel on": (0.5, 0.5), "12.3 pixels on": (12.3, 0.0)}
    for name, shift in shifts.items():
        noise = field(grid(shift))
        correlation = neighbour_correlation(noise)
        flatness = whitened_flatness(noise, field.spectrum.density)
        print(f"{name:16} variance {noise.var():.3f}, neighbours {correlation:+.3f}, flatness {flatness:.3f}")
    # A function has one value at a place: a pixel on, the same noise is found one column over.
    on = field(grid((1.0, 0.0)))
    print(f"one pixel on: differs by {(on[..., :-1] - here[..., 1:]).abs().max():.1e} at most")


if __name__ == "__main__":
    main()
