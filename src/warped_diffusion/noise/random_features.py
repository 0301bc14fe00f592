"""The paper's representation of a random function: a sum of a few thousand cosines at random frequencies."""

import math
from functools import cached_property
from typing import Self

import finufft
import numpy as np
import torch
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.noise.seeds import Seed, keyed
from warped_diffusion.noise.spectra import Spectrum
from warped_diffusion.noise.table import Table

FEATURES = 3000
"""Cosines in the sum.   [paper, App. 12.2]"""

ACCURACY = 1e-7
"""Relative error asked of the transform; measured against the plain sum: 5e-7 of a value of unit variance."""

SIDE = 2048
"""Pixels across that one transform covers at most: its grid is 1.6 times as wide, and kept in memory."""

CROWD = 4096
"""Points from which on a transform costs less than their cosines, and a table is worth making."""

TABLE = 1024
"""Pixels of a frame's longer side up to which its surroundings are kept in a table: 60 MB a pair of channels there."""

COSINES = 2**21
"""Cosines that the plain sum holds at once: few enough for a processor's cache."""


class RandomFeatures:
    r"""ξ_c(x) = √(2/J) Σ_j w_cj·cos(⟨z_j, x⟩ + b_j), x in pixels.   [paper, §3.1]

    The frequencies z_j are drawn from the (truncated) spectrum, w ~ N(0, 1), b ~ U(0, 2π). All channels share z and b
    and have weights of their own, as one function with values in R^C has: given the features they are independent, and
    one transform serves them all. The covariance is the spectrum's kernel on average over the draws of z and b; a
    single draw's differs from it by about √(1/J), its values span J dimensions at most, and it never repeats.

    Args:
        frequencies: (J, 2), rad/px.
        phases: (J,), rad.
        weights: (channels, J).
        size: (height, width) of the frames that will mostly be asked for; it changes no value.
    """

    points_at_once = 1
    """The grid of a type-3 transform depends on all its points: alone, a map of a batch gets the same last bits."""

    def __init__(self, frequencies: Tensor, phases: Tensor, weights: Tensor, size: tuple[int, int]) -> None:
        self._size = size
        self.frequencies, self.phases, self.weights = frequencies.double(), phases.double(), weights.double()
        self.channels = len(weights)
        # w cos(kx + b) = (c e^{ikx} + c* e^{-ikx})/2 with c = w e^{ib}. Two real channels travel as real and imaginary
        # part of one transform over ±z: few frequencies more, half the transforms over many positions.
        c = torch.polar(torch.ones_like(self.phases), self.phases) * self.weights * math.sqrt(0.5 / len(phases))
        c = torch.nn.functional.pad(c, (0, 0, 0, self.channels % 2))
        even, odd = c[0::2], c[1::2]
        self._strengths = torch.cat([even + 1j * odd, even.conj() + 1j * odd.conj()], dim=-1).numpy()
        self._both = np.ascontiguousarray(torch.cat([self.frequencies, -self.frequencies]).numpy().T)

    @classmethod
    def draw(
        cls,
        channels: int,
        size: tuple[int, int],
        spectrum: Spectrum,
        seed: Seed,
        padding: int | None = None,
        features: int = FEATURES,
    ) -> Self:
        """Random features of that spectrum, the same for every `size`.

        Raises: UserError for a padding, which belongs to what is periodic.
        """
        if padding is not None:
            raise UserError(f"padding is {padding}, but random features never repeat: leave it out")
        generator = keyed(seed)
        frequencies = spectrum.frequencies(torch.from_numpy(generator.random((features, 2))))
        phases = 2 * math.pi * torch.from_numpy(generator.random(features))
        return cls(frequencies, phases, torch.from_numpy(generator.standard_normal((channels, features))), size)

    def grid(self, size: tuple[int, int]) -> Tensor:
        """The field at the integer positions (0 … W-1, 0 … H-1): (channels, H, W) float64."""
        height, width = size
        x, y = torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy")
        return self.at(torch.stack([x, y], dim=-1).reshape(-1, 2).double()).unflatten(1, size)

    def canvas(self) -> Tensor:
        """Raises UserError: there is no period to show."""
        raise UserError('random features never repeat, so they have no canvas: use representation="lattice"')

    def at(self, positions: Tensor, threads: int = 1) -> Tensor:
        """The field at any positions, by non-uniform FFTs.

        A map that stays within a quarter of the frame around it reads a `Table`, made once. Others take type-3
        transforms: positions that span more than `SIDE` pixels are parted into squares; those that are alone in theirs
        (a map that tears) get the plain sum, so that no position, however far away, costs memory.

        Args:
            positions: (M, 2) finite, pixels, (x right, y down), float64 on the CPU.
            threads: the last bits depend on their number; one means one noise on every machine.
        Returns: (channels, M) float64.
        """
        if len(positions) == 0:
            return torch.zeros(self.channels, 0, dtype=torch.float64)
        x, y = np.ascontiguousarray(positions.numpy().T)
        if len(positions) >= CROWD and max(self._size) <= TABLE and self._table.holds(x, y):
            return self._unpair(self._table.at(x, y, threads))
        square = ((positions - positions.amin(0)) / SIDE).floor()
        if not square.any():
            return self._transform(x, y, threads)
        _, square_of, population = square.unique(dim=0, return_inverse=True, return_counts=True)
        values = torch.empty(self.channels, len(positions), dtype=torch.float64)
        lonely = (population < CROWD)[square_of]
        values[:, lonely] = self._plain_sum(positions[lonely])
        for crowded in (population >= CROWD).nonzero().flatten():
            inside = square_of == crowded
            values[:, inside] = self._transform(x[inside.numpy()], y[inside.numpy()], threads)
        return values

    @cached_property
    def _table(self) -> Table:
        """The field on the frame and a quarter of it on each side: more takes longer to read, too."""
        height, width = self._size
        return Table(self._both, self._strengths, (-width / 4, -height / 4), (3 * height // 2, 3 * width // 2))

    def _transform(self, x: np.ndarray, y: np.ndarray, threads: int) -> Tensor:
        pairs = finufft.nufft2d3(
            *self._both,
            self._strengths,
            x,
            y,
            eps=ACCURACY,
            isign=1,
            upsampfac=1.25,  # measured at 1024 x 1024 x 4: the error of 2.0 in a third of its time and memory
            nthreads=threads,
        )
        return self._unpair(pairs)

    def _unpair(self, pairs: np.ndarray) -> Tensor:
        """(pairs, M) complex -> (channels, M)."""
        return torch.from_numpy(np.stack([pairs.real, pairs.imag], axis=1)).flatten(0, 1)[: self.channels]

    def _plain_sum(self, positions: Tensor) -> Tensor:
        return direct_sum(self.frequencies, self.phases, self.weights, positions, torch.float64)


def direct_sum(
    frequencies: Tensor, phases: Tensor, weights: Tensor, positions: Tensor, dtype: torch.dtype = torch.float32
) -> Tensor:
    r"""√(2/J) Σ_j w_cj·cos(⟨z_j, x⟩ + b_j) as it is printed, in blocks: what the transforms are measured against.

    Per block of positions one matrix product for the angles, one cosine in place, which all channels share, and one
    product with the weights; on the threads and the device that torch is given.

    Args:
        frequencies: (J, 2), rad/px; phases: (J,), rad; weights: (channels, J).
        positions: (M, 2), pixels.
        dtype: float64 is exact; float32 rounds angles of thousands of radians, and is off by about 1e-3 at 1024 pixels.
    Returns: (channels, M) of that dtype, on the positions' device.
    """
    z, b, w = (part.to(positions.device, dtype) for part in (frequencies, phases, weights * math.sqrt(2 / len(phases))))
    values = torch.empty(len(weights), len(positions), device=positions.device, dtype=dtype)
    block = max(1, COSINES // len(phases))
    for target, points in zip(values.split(block, dim=1), positions.to(dtype).split(block), strict=True):
        target.copy_(w @ torch.addmm(b[:, None], z, points.T).cos_())
    return values
