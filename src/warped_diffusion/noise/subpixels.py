"""Noise finer than the pixel: k x k values to each, whose sum is the pixel that was there before."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from warped_diffusion.noise.seeds import standard_normal


class SubPixels:
    r"""White noise on a grid k times as fine as a canvas, drawn on condition of it.   ["How I Warped Your Noise"]

    A pixel p becomes z_i − z̄ + p/k with k² independent z_i ~ N(0, 1): independent N(0, 1) again if p is, and their sum
    over k, which is the sum's own standard deviation, is p exactly. Periodic as the canvas is. A row of pixels is drawn
    when it is first looked at, and kept: 2 k² bytes a pixel and channel.

    Args:
        canvas: (C, h, w) float32.
        finer: k.
        key: of the random numbers.
    """

    def __init__(self, canvas: Tensor, finer: int, key: tuple[int, ...]) -> None:
        self.channels, self._height, self._width = canvas.shape
        self.finer, self._key = finer, key
        # Half precision for z: its mean is taken after rounding, so that sums stay exact.
        self._z = np.empty((self.channels, self._height * finer, self._width * finer), dtype=np.float16)
        self._offset = canvas.numpy() / np.float32(finer)
        self._drawn = np.zeros(self._height, dtype=bool)

    def read(self, x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.float32]:
        """Values at sub-pixels (x, y), counted from the corner of the canvas, any integers: (C, M)."""
        x, y = x % (self._width * self.finer), y % (self._height * self.finer)
        row = y // self.finer
        self._draw(row)
        z = self._z.reshape(self.channels, -1)[:, y * (self._width * self.finer) + x]
        pixel = row * self._width + x // self.finer
        return np.add(z, self._offset.reshape(self.channels, -1)[:, pixel], dtype=np.float32)

    def _draw(self, rows: NDArray[np.int64]) -> None:
        wanted = np.zeros_like(self._drawn)
        wanted[rows] = True
        for row in np.flatnonzero(wanted & ~self._drawn):
            z = standard_normal((*self._key, int(row)), (self.channels, self.finer, self._width * self.finer))
            kept = z.numpy().astype(np.float16)
            self._z[:, row * self.finer : (row + 1) * self.finer] = kept
            parts = kept.astype(np.float32).reshape(self.channels, self.finer, self._width, self.finer)
            self._offset[:, row] -= parts.mean(axis=(1, 3))
            self._drawn[row] = True
