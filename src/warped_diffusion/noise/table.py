"""A sum of waves at scattered frequencies, kept on a fine grid: made once, then read at a few numbers a position."""

import math
from functools import cache

import finufft
import numpy as np

SPACING = 0.8
"""Pixels between the grid's points: frequencies up to π per pixel are four fifths of what it holds."""

ACCURACY = 1e-7
"""Relative error asked of the kernel that reads the grid, and of the transform that makes it."""

RIM = 8
"""Points of the grid beyond the box on each side: the kernel reads six either way."""

DENSE = 16
"""Samples of the kernel per point of the grid, for its Fourier transform."""


class Table:
    r"""f(x) = Σ_j s_j·exp(i·⟨z_j, x⟩) for x in a box.

    A non-uniform FFT puts f on a grid, each wave divided by the transform of the kernel at its frequency; a sum over
    the kernel's 12 × 12 points of the grid then gives f anywhere. That is a type-3 transform cut in two where the
    positions come in, so what does not depend on them is done once.

    Args:
        frequencies: (2, J), (x, y), rad/px, at most π along each axis.
        strengths: (T, J) complex, for T functions that share the frequencies.
        corner: (x, y) of the box, pixels.
        size: (height, width) of the box, pixels.
    """

    def __init__(
        self, frequencies: np.ndarray, strengths: np.ndarray, corner: tuple[float, float], size: tuple[int, int]
    ) -> None:
        self._low = np.array(corner, dtype=np.float64)
        self._high = self._low + np.array([size[1], size[0]])
        rows, columns = (2 * math.ceil((length / SPACING + 2 * RIM + 1) / 2) for length in size)
        self._shape = rows, columns
        middle = self._low + SPACING * (np.array([columns, rows]) / 2 - RIM)
        x, y = SPACING * frequencies
        placed = strengths * np.exp(1j * (middle @ frequencies)) / (_kernel_transform(x) * _kernel_transform(y))
        self._grid = finufft.nufft2d1(
            y, x, placed.astype(np.complex128), (rows, columns), eps=ACCURACY, isign=1, upsampfac=1.25, nthreads=1
        )

    def holds(self, x: np.ndarray, y: np.ndarray) -> bool:
        """Whether all the positions lie in the box."""
        lows, highs = (x.min(), y.min()), (x.max(), y.max())
        return bool((self._low <= lows).all() and (highs <= self._high).all())

    def at(self, x: np.ndarray, y: np.ndarray, threads: int) -> np.ndarray:
        """f at positions in the box: (M,) each, pixels, float64 -> (T, M) complex."""
        rows, columns = self._shape
        along = (x - self._low[0]) * (2 * math.pi / (SPACING * columns)) + (2 * math.pi * RIM / columns - math.pi)
        down = (y - self._low[1]) * (2 * math.pi / (SPACING * rows)) + (2 * math.pi * RIM / rows - math.pi)
        return _read(self._grid, along, down, threads)


def _read(grid: np.ndarray, x: np.ndarray, y: np.ndarray, threads: int) -> np.ndarray:
    """The kernel's sum alone: the grid spans [−π, π) along both axes and repeats."""
    return finufft.nufft2d2(y, x, grid, eps=ACCURACY, upsampfac=1.25, spreadinterponly=1, nthreads=threads)


def _kernel_transform(angle: np.ndarray) -> np.ndarray:
    r"""∫ φ(t) exp(−i·w·t) dt of the kernel, t in points of the grid: w -> the same shape."""
    place, value = _kernel()
    return 2 / DENSE * (value[:, None] * np.cos(np.outer(place, angle))).sum(0) - value[0] / DENSE


@cache
def _kernel() -> tuple[np.ndarray, np.ndarray]:
    """φ(t) for t = 0, 1/16, 2/16 … until it vanishes, as the library reads it off a grid with a single one on it."""
    points = 4 * RIM
    grid = np.zeros((points, points), dtype=np.complex128)
    grid[points // 2, points // 2] = 1  # at (0, 0)
    place = np.arange(RIM * DENSE) / DENSE
    value = _read(grid, 2 * math.pi / points * place, np.zeros_like(place), 1).real
    return place, value / math.sqrt(value[0])
