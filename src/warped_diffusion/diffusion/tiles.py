"""Large frames in bounded memory: overlapping tiles, one after another, blended where they overlap."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor

from warped_diffusion.diffusion.contract import Codec, Condition, Denoiser
from warped_diffusion.errors import ShapeError, UserError

ALIGN = 8
"""Cells: tiles begin at multiples of it, where networks that halve the grid three times see the whole frame's phase."""

LEAST = 2 * ALIGN
"""Cells: the smallest side of a tile."""


class Tile(NamedTuple):
    """A part of a grid, and how much each of its cells (h, w) counts."""

    rows: slice
    columns: slice
    weight: Tensor


@dataclass(frozen=True)
class Tiling:
    """How a grid is cut.

    A tile counts in full from three quarters of an overlap inside its cut edge on, and in the quarter next to the edge,
    which knows too little of what lies beyond, not at all; in between its weight falls as the neighbour's rises.

    Attributes:
        side: the longest side of a tile, cells, a multiple of `ALIGN`.
        overlap: what neighbours share at least, cells, a multiple of `ALIGN`.
        limit: an axis of up to so many cells is not cut; None for `side`.
    Raises: UserError for sides and overlaps that are no such multiples, or an overlap of more than half of the side.
    """

    side: int
    overlap: int
    limit: int | None = None

    def __post_init__(self) -> None:
        multiples = self.side % ALIGN == self.overlap % ALIGN == 0
        if not (multiples and ALIGN <= self.overlap <= self.side // 2):
            raise UserError(
                f"tiles have sides of {LEAST} cells or more and overlap by up to half of them, both multiples of "
                f"{ALIGN}, got {self.side} and {self.overlap}"
            )

    def spans(self, length: int) -> list[tuple[int, int]]:
        """The tiles' (first, last + 1) along an axis of that many cells: as few as will do, all about as long."""
        if length <= max(self.side, self.limit or 0):
            return [(0, length)]
        side, overlap, whole = self.side // ALIGN, self.overlap // ALIGN, ceil(length / ALIGN)
        count = ceil((whole - overlap) / (side - overlap))
        side = ceil((whole + (count - 1) * overlap) / count)
        starts = [place * (whole - side) // (count - 1) for place in range(count)]
        return [(start * ALIGN, min((start + side) * ALIGN, length)) for start in starts]

    def largest(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the largest tile of a grid."""
        down, across = (max(stop - start for start, stop in self.spans(length)) for length in size)
        return down, across

    def tiles(self, size: tuple[int, int], factor: int = 1) -> Iterator[Tile]:
        """The tiles of a grid (height, width) in cells, on another that is `factor` times as fine."""
        down, across = (_weighted(self.spans(length), factor) for length in size)
        for (rows, of_rows), (columns, of_columns) in product(down, across):
            yield Tile(rows, columns, of_rows[:, None] * of_columns)


def _weighted(spans: list[tuple[int, int]], factor: int) -> list[tuple[slice, Tensor]]:
    """Every span, `factor` times as fine, with the weights along it. At any place they sum to 1."""
    spans = [(start * factor, stop * factor) for start, stop in spans]
    weights = [torch.ones(stop - start) for start, stop in spans]
    for i, ((_, stop), (start, _)) in enumerate(pairwise(spans)):
        shared = stop - start
        rise = ((torch.arange(shared) + 0.5) / shared * 2 - 0.5).clamp(0, 1)
        weights[i][-shared:] *= 1 - rise
        weights[i + 1][:shared] *= rise
    total = torch.zeros(spans[-1][1])  # 1 but where three tiles meet
    slices = [slice(*span) for span in spans]
    for span, weight in zip(slices, weights, strict=True):
        total[span] += weight
    return [(span, weight / total[span]) for span, weight in zip(slices, weights, strict=True)]


@dataclass(frozen=True)
class Tiled:
    """A denoiser that looks at one tile after another, its estimates blended.

    What a network that sees no further than a quarter of the overlap makes of a frame is the same in tiles.

    Attributes:
        denoiser: of one tile; it gets the part of every (B, C, h, w) in the condition that lies under it.
        tiling: of the grid of the noisy image.
    """

    denoiser: Denoiser
    tiling: Tiling

    def __call__(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """`Denoiser`'s contract.   Raises: ShapeError for a condition whose grid the tiles do not fall on."""
        size = (noisy.shape[-2], noisy.shape[-1])
        if self.tiling.largest(size) == size:
            return self.denoiser(noisy, sigma, condition)
        total = torch.zeros_like(noisy, dtype=torch.promote_types(noisy.dtype, torch.float32))
        for rows, columns, weight in self.tiling.tiles(size):
            part = {name: _under(value, rows, columns, size) for name, value in condition.items()}
            denoised = self.denoiser(noisy[..., rows, columns], sigma, part)
            total[..., rows, columns] += weight.to(total) * denoised
        return total


def _under(value: Tensor, rows: slice, columns: slice, size: tuple[int, int]) -> Tensor:
    """What of a condition lies under a tile; it may be on a finer or a coarser grid, or on none."""
    grid = (value.shape[-2], value.shape[-1]) if value.ndim == 4 else (1, 1)
    if grid == (1, 1):
        return value
    cut = []
    for part, length, own in zip((rows, columns), size, grid, strict=True):
        ends = (part.start * own, part.stop * own)
        if any(end % length for end in ends):
            raise ShapeError(f"a condition on a grid of {grid} cannot be cut with one of {size}: do without tiles")
        cut.append(slice(*(end // length for end in ends)))
    return value[..., cut[0], cut[1]]


def choose_tiling(tile: int | str, native: int | None, factor: int = 1) -> Tiling | None:
    """How a model's grid is cut: as asked, in pixels; for "none", or for "auto" without a native side, not at all.

    For "auto" tiles have the native side, and an axis of up to half as much again stays whole.

    Args:
        native: pixels a side of the frames that the model was made for.
        factor: pixels per cell.
    Raises: UserError for anything else than "auto", "none" or a number of pixels that makes a tile.
    """
    if tile == "none" or (tile == "auto" and native is None):
        return None
    if tile == "auto":
        side = max(LEAST, _whole((native or 0) // factor))
        return Tiling(side, _overlap(side), side * 3 // 2)
    if isinstance(tile, bool) or not isinstance(tile, int) or tile < LEAST * factor:
        raise UserError(f'tile is "auto", "none" or a side of at least {LEAST * factor} pixels here, got {tile!r}')
    side = _whole(tile // factor)
    return Tiling(side, _overlap(side))


def _overlap(side: int) -> int:
    """A quarter of the side, and no more than networks of pixels look around."""
    return max(ALIGN, min(_whole(side // 4), 128))


def _whole(cells: int) -> int:
    return cells // ALIGN * ALIGN


class TiledCodec:
    """A codec that encodes and decodes one tile after another, blended. `tiling` is of the latents."""

    def __init__(self, codec: Codec, tiling: Tiling) -> None:
        self._codec, self._tiling = codec, tiling
        self.factor, self.channels = codec.factor, codec.channels

    def encode(self, pictures: Tensor) -> Tensor:
        """As `Codec.encode`."""
        height, width = (side // self.factor for side in pictures.shape[-2:])
        latents = pictures.new_zeros(len(pictures), self.channels, height, width)
        fine = self._tiling.tiles((height, width), self.factor)
        for (rows, columns, weight), large in zip(self._tiling.tiles((height, width)), fine, strict=True):
            part = self._codec.encode(pictures[..., large.rows, large.columns])
            latents[..., rows, columns] += weight.to(part) * part
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """As `Codec.decode`."""
        height, width = latents.shape[-2:]
        pictures = latents.new_zeros(len(latents), 3, height * self.factor, width * self.factor)
        fine = self._tiling.tiles((height, width), self.factor)
        for small, (rows, columns, weight) in zip(self._tiling.tiles((height, width)), fine, strict=True):
            part = self._codec.decode(latents[..., small.rows, small.columns])
            pictures[..., rows, columns] += weight.to(part) * part
        return pictures
