"""Noise as an integral over the pixel: "How I Warped Your Noise", the strongest scheme before Gaussian processes."""

import math

import numpy as np
import torch
from torch import Tensor

from warped_diffusion.flow.maps import extend_map
from warped_diffusion.noise.field import GaussianField
from warped_diffusion.noise.lattice import filtered
from warped_diffusion.noise.polygons import Array, pixel_outlines, points_inside
from warped_diffusion.noise.positions import check_finite, check_shape, item_by_item
from warped_diffusion.noise.seeds import SUBPIXELS
from warped_diffusion.noise.spectra import Spectrum, White, get_spectrum
from warped_diffusion.noise.stateless import Stateless
from warped_diffusion.noise.subpixels import SubPixels

FINER = 4
"""Sub-pixels to a pixel along each axis: a picture that grows by more than this shows some of them twice."""

REACH = 16
"""Pixels that an outline may be wide; where a map tears wider, it keeps its middle and its shape."""

AREA = 2**21
"""Sub-pixels inspected at once: about 70 MB for four channels, with their places."""


class Integral(Stateless):
    r"""Every pixel's outline is carried to the first frame, and the sub-pixels that fall inside are summed up.

    n_j(x) = Σ_{i in P_j(pixel x)} z_i / √count, z the first frame's noise on a grid `FINER` times as fine (see
    `SubPixels`). Outlines that do not overlap share no sub-pixel, so the noise is white with unit variance under any
    map that is one to one and enlarges the picture by less than `FINER`; an outline without a sub-pixel takes the
    nearest, and pixels then share theirs. A frame's pixel is correlated with one of the first frame by the share of
    its area that they have in common: 1 on the grid, 1/4 with each of four half a pixel away both ways.

    With another spectrum than white, the map is continued over the canvas's whole period (the displacement of the
    nearest edge pixel holds), white noise is carried there, and its Fourier transform filtered to the spectrum: right
    in its statistics under every map above, and a filtered shift is the shifted canvas.
    """

    def __init__(self, channels: int, size: tuple[int, int], spectrum: str | Spectrum, seed: int, shot: int) -> None:
        self._size, self._spectrum = size, get_spectrum(spectrum)
        canvas = GaussianField(channels, size, White(), seed=(seed, shot)).canvas()
        self._period = (canvas.shape[-2], canvas.shape[-1])
        self._noise = SubPixels(canvas, FINER, (seed, shot, SUBPIXELS))

    def frame(
        self, index: int, positions: Tensor, backward: Tensor | None = None, known: Tensor | None = None
    ) -> Tensor:
        check_shape(positions, self._size)
        check_finite(positions)
        read = self._summed if isinstance(self._spectrum, White) else self._filtered
        return item_by_item(read, positions, self._noise.channels)

    def _summed(self, positions: Tensor) -> Tensor:
        """White noise for one map (H, W, 2): (C, H, W) float32."""
        corners = pixel_outlines(positions)
        outlines = ((corners + 0.5) * FINER - 0.5).flatten(2).numpy()
        noise = [self._within(part) for part in _parted(_within_reach(outlines))]
        return torch.from_numpy(np.concatenate(noise, axis=1)).unflatten(1, tuple(positions.shape[:2]))

    def _within(self, outlines: Array) -> np.ndarray:
        """(4, 2, N) outlines, sub-pixels -> (C, N): the normalised sum of what each holds."""
        x, y, count = points_inside(outlines)
        noise = np.empty((self._noise.channels, len(count)), dtype=np.float32)
        full = count > 0
        if full.any():
            first = (np.cumsum(count) - count)[full]
            total = np.add.reduceat(self._noise.read(x, y), first, axis=1)
            noise[:, full] = total / np.sqrt(count[full], dtype=np.float32)
        if not full.all():
            x, y = np.floor(outlines[..., ~full].mean(axis=0) + 0.5).astype(np.int64)
            noise[:, ~full] = self._noise.read(x, y)
        return noise

    def _filtered(self, positions: Tensor) -> Tensor:
        """Noise of the spectrum for one map (H, W, 2): (C, H, W)."""
        (height, width), (top, left) = self._size, ((p - n) // 2 for p, n in zip(self._period, self._size, strict=True))
        bottom, right = self._period[0] - height - top, self._period[1] - width - left
        white = self._summed(extend_map(positions, (left, right, top, bottom)))
        return filtered(white, self._spectrum)[:, top : top + height, left : left + width]


def _within_reach(outlines: Array) -> Array:
    """Outlines (4, 2, N), those wider than `REACH` pixels shrunk about their middle to that."""
    extent = np.ptp(outlines, axis=0).max(axis=0)
    wide = extent > REACH * FINER
    if not wide.any():
        return outlines
    middle = outlines.mean(axis=0)
    shrink = np.where(wide, REACH * FINER / np.maximum(extent, 1), 1)
    return np.where(wide, middle + shrink * (outlines - middle), outlines)


def _parted(outlines: Array) -> list[Array]:
    """The outlines in parts, whose boxes hold about `AREA` sub-pixels each."""
    area = np.prod(np.ptp(outlines, axis=0) + 1, axis=0).cumsum()
    parts = math.ceil(area[-1] / AREA)
    return np.split(outlines, np.searchsorted(area, area[-1] / parts * np.arange(1, parts)), axis=-1)
