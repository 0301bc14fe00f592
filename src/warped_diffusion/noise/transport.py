r"""Carrying white noise through a map so that it arrives white: transport, and completion of what it cannot carry.

Noise is no picture. Under a smooth map P it keeps its statistics if it moves as a half-density, √|det ∂P(x)| ξ(P(x)),
which is a unitary operator on functions of the plane. Between two pixel grids, each of which holds a square band of
frequencies, it is the contraction A below: the band that both grids can hold arrives whole, the rest does not. So

    n = p(C) A w + q(C) z,     C = A Aᵀ,     C p² + q² = I,

with z independent of w, is white, and follows the map as far as white noise can. With e = 1 − λ the polynomials are
p = 1 + e/2, one step towards λ^(-1/2), and q = e (√¾ + (1 − √¾) e), the square root of what is missing: λ p² + q² = 1
at λ = 0 and 1, where the eigenvalues of C gather, within 0.002 between, 0.003 up to 1.5 and 0.04 up to 2. Maps that
tear or fold come near 2, single directions of a map whose pixels jump about at random get to 3, where it is 1.43.
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property

import finufft
import numpy as np
import torch
from torch import Tensor

from warped_diffusion.flow.maps import displacement, jacobian

STILL = 1e-3
"""Pixels by which a map may differ from a translation and still count as one."""

BAND_SLACK = 1e-3
"""Share of the Nyquist frequency by which a mode may exceed it: rounding must not cost a translation its last modes."""

FINE, COARSE = 1e-7, 1e-4
"""Relative errors asked of the non-uniform transforms: where noise arrives unchanged, and where it is mended anyway."""

WORKERS = min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
"""Transforms done at a time, one on each core."""

ROOT = math.sqrt(0.75)


class Transport:
    r"""A: white noise on a periodic lattice -> the pixels of a frame; (A w)(x) = √|det ∂P(x)| · ξ(P(x)), band-limited.

    ξ is the trigonometric interpolant of w. Of its modes those remain that the frame's grid can hold under the frame's
    median derivative J: |Jᵀ k| <= π along both axes. Without that, noise would alias where the picture shrinks, and
    under a rotation. Where a map visits a place more than once, the visits share what is there.

    Args:
        positions: (H, W, 2) finite, pixels of the lattice, float64 on the CPU.
        lattice: (h, w), both odd.
        known: (H, W) in [0, 1], a factor of what each pixel is given; None for 1.
    """

    def __init__(self, positions: Tensor, lattice: tuple[int, int], known: Tensor | None = None) -> None:
        self.grid = (positions.shape[0], positions.shape[1])
        self.lattice = lattice
        moved = displacement(positions)
        whole = known is None or bool((known == 1).all())
        self.is_translation = whole and bool((moved - moved[0, 0]).abs().max() < STILL)
        """Whether A is exactly unitary, so that there is nothing to correct and nothing to complete."""
        height, width = lattice
        self._points = [
            np.ascontiguousarray((2 * math.pi / n * positions[..., axis].remainder(n)).numpy().ravel())
            for axis, n in ((1, height), (0, width))
        ]
        self._precision = torch.complex128 if self.is_translation else torch.complex64
        self._real = torch.float64 if self.is_translation else torch.float32
        self._positions, self._known = positions, known
        self._plans: dict[tuple[int, int], finufft.Plan] = {}

    @cached_property
    def _scales(self) -> tuple[Tensor, Tensor]:
        """Of the lattice's modes, 1 where the frame can hold them, (h, w), and of the pixels that they are read at."""
        if self.is_translation:
            return torch.ones(self.lattice, dtype=self._real), torch.ones(self.grid, dtype=self._real)
        J = jacobian(self._positions)
        band = _band(J.flatten(0, 1).median(0).values, self.lattice)
        density = (J[..., 0, 0] * J[..., 1, 1] - J[..., 0, 1] * J[..., 1, 0]).abs()
        density = density.clamp(max=float(1 / band.mean()))
        amplitude = (density / _visits(self._positions, density, self.lattice)).sqrt()
        if self._known is not None:
            amplitude = amplitude * self._known.double()
        return band.to(self._real), amplitude.to(self._real)

    def apply(self, modes: Tensor) -> Tensor:
        """A w: (pairs, h, w) Fourier modes of w, two channels each -> (2 pairs, H, W), float64 under a translation.

        Elsewhere float32: what comes of it is mended, and the transforms are as exact as that.
        """
        return self._read(modes.to(self._precision))

    def gram(self, values: Tensor) -> Tensor:
        """C v = A Aᵀ v, (2 pairs, H, W) -> the same, in the precision of `apply`."""
        weighted = (self._scales[1] * values.to(self._real)).reshape(-1, 2, math.prod(self.grid))
        return self._read(self._transform(1, torch.complex(weighted[:, 0], weighted[:, 1])).reshape(-1, *self.lattice))

    def complete(self, carried: Tensor, fill: Tensor) -> Tensor:
        """White noise from `carried` = A w and an independent white `fill`: (C, H, W) each, C even."""
        if self.is_translation:
            return carried
        fill = fill.to(self._real)
        mixed = carried / 2 + ROOT * fill + (1 - ROOT) * (fill - self.gram(fill))
        return carried + mixed - self.gram(mixed)  # p(C) carried + q(C) fill, both polynomials' factor e taken out

    def _read(self, modes: Tensor) -> Tensor:
        band, amplitude = self._scales
        values = self._transform(2, modes * band).reshape(-1, *self.grid)
        return torch.stack([values.real, values.imag], 1).flatten(0, 1) * (amplitude / math.prod(self.lattice))

    def _transform(self, kind: int, data: Tensor) -> Tensor:
        """Non-uniform transforms at this map's points, one per item: kind 2 reads modes there, 1 is its adjoint.

        Each is done by one thread and several at a time, which gives the same bits whatever the number of threads.
        """
        items = data.numpy()
        workers = range(min(WORKERS, len(items)))

        def work(worker: int) -> list[Tensor]:
            plan = self._plan(kind, worker)
            return [torch.from_numpy(plan.execute(item)) for item in items[worker :: len(workers)]]

        if len(workers) == 1:
            return torch.stack(work(0))
        done = list(_pool().map(work, workers))
        return torch.stack([done[i % len(workers)][i // len(workers)] for i in range(len(items))])

    def _plan(self, kind: int, worker: int) -> finufft.Plan:
        if (kind, worker) not in self._plans:
            exact = self._precision == torch.complex128
            plan = finufft.Plan(
                kind,
                self.lattice,
                eps=FINE if exact else COARSE,
                isign=1 if kind == 2 else -1,
                dtype="complex128" if exact else "complex64",
                modeord=1,
                upsampfac=1.25,
                nthreads=1,
            )
            plan.setpts(*(points.astype(np.float64 if exact else np.float32) for points in self._points))
            self._plans[kind, worker] = plan
        return self._plans[kind, worker]


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(WORKERS)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked process inherits the pool without its threads


def pair(white: Tensor) -> Tensor:
    """Fourier modes of real images, two to a transform: (C, h, w) -> (C / 2, h, w) complex128, C even."""
    return torch.fft.fft2(torch.complex(white[0::2].double(), white[1::2].double()))


def _band(J: Tensor, lattice: tuple[int, int]) -> Tensor:
    """(h, w) float64, 1 at the modes k, in FFT order, that a grid whose pixels step by J can hold: |Jᵀ k| <= π."""
    ky, kx = (2 * math.pi * torch.fft.fftfreq(n, dtype=torch.float64) for n in lattice)
    along = (J[0, i] * kx[None, :] + J[1, i] * ky[:, None] for i in (0, 1))
    low = [k.abs() <= math.pi * (1 + BAND_SLACK) for k in along]
    return (low[0] & low[1]).double()


def _visits(positions: Tensor, density: Tensor, lattice: tuple[int, int]) -> Tensor:
    """How often the map comes by each pixel's position, at least 1: (H, W).

    Every pixel lays its `density`, the area that it covers, on the lattice; a map that is one to one lays 1 everywhere.
    """
    height, width = lattice
    corner = positions.floor()
    part = positions - corner
    laid = torch.zeros(height * width, dtype=torch.float64)
    for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        share = (part[..., 0] if right else 1 - part[..., 0]) * (part[..., 1] if down else 1 - part[..., 1])
        x, y = (corner[..., 0] + right) % width, (corner[..., 1] + down) % height
        laid += torch.bincount((y * width + x).long().ravel(), (share * density).ravel(), minlength=height * width)
    laid = torch.nn.functional.pad(laid.reshape(1, 1, height, width), (1, 1, 1, 1), mode="circular")
    laid = torch.nn.functional.avg_pool2d(laid, 3, 1)[0, 0]
    nearest = positions.round()
    return laid[(nearest[..., 1] % height).long(), (nearest[..., 0] % width).long()].clamp(min=1)
