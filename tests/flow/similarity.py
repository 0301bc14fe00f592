"""Similarity maps in complex numbers, z -> a z + b: an oracle that shares no code with the package."""

import cmath
import math

import torch


class Similarity:
    """Turn by `degrees` (x towards y), stretch by `zoom` about the centre of (height, width), then shift."""

    def __init__(self, size, shift=(0.0, 0.0), degrees=0.0, zoom=1.0):
        self.size = size
        centre = complex((size[1] - 1) / 2, (size[0] - 1) / 2)
        self.a = cmath.rect(zoom, math.radians(degrees))
        self.b = centre - self.a * centre + complex(*shift)

    def iterate(self, power, points=None):
        """(H, W, 2) float64: the grid, or `points`, through the map `power` times, backwards where that is negative."""
        if points is None:
            y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in self.size), indexing="ij")
        else:
            x, y = points.double().unbind(-1)
        z = torch.complex(x, y)
        for _ in range(abs(power)):
            z = self.a * z + self.b if power > 0 else (z - self.b) / self.a
        return torch.stack((z.real, z.imag), dim=-1)


def wild_map(size, spread=4.0, seed=0, dtype=torch.float64):
    """The identity plus smooth and rough random displacement: it folds, decimates and leaves the frame."""
    generator = torch.Generator().manual_seed(seed)
    grid = Similarity(size).iterate(0)
    return (grid * 1.6 - 2.0 + spread * torch.randn(*size, 2, generator=generator, dtype=torch.float64)).to(dtype)
