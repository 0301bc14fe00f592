"""Sampling a picture along a map, as a linear operator with its exact adjoint."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import scipy.sparse
import torch
import torch.nn.functional as F
from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.flow.maps import check_map, jacobian

WIDEST = 4.0
"""A kernel is widened at most this much: beyond it the cost (its square) grows faster than the aliasing matters."""

TOLERATED_SCALE = 1.05
"""Decimation up to here keeps the plain kernel: estimated flow is noisy, and half of all pixels lie a hair above 1."""


@dataclass(frozen=True)
class Kernel:
    """An interpolation kernel of one axis: its half width in pixels, its weight at a distance, whether it may widen."""

    support: float
    weight: Callable[[Tensor], Tensor]
    widens: bool = True


def _lanczos3(distance: Tensor) -> Tensor:
    r"""sinc(d) sinc(d/3) = sinc(d/3)^2 (1 - 4/3 sin^2(pi d/3)), as sin 3x = 3 sin x - 4 sin^3 x: one sine, not two."""
    third = distance / 3
    window = torch.sinc(third)
    weight = window.square() * (1 - 4 / 3 * (math.pi * third * window).square())
    return torch.where(distance.abs() < 3, weight, 0.0)


KERNELS: dict[str, Kernel] = {
    "nearest": Kernel(0.5, torch.ones_like, widens=False),
    "bilinear": Kernel(1.0, lambda distance: (1 - distance.abs()).clamp(min=0)),
    "lanczos3": Kernel(3.0, _lanczos3),
}


def get_kernel(name: str) -> Kernel:
    """The kernel of that name. Raises: UserError if there is none."""
    if name not in KERNELS:
        raise UserError(f"kernel is {name!r}: choose one of {', '.join(KERNELS)}")
    return KERNELS[name]


AT_ONCE = 2**13
"""Pixels whose weights are made together on a CPU: what is made on the way stays in its cache."""


class Warp:
    r"""The linear operator A that samples a picture at positions: (A w)(x) = \sum_i a_i(x) w_i, and its adjoint.

    The weights are computed once. Taps outside the picture are dropped and the rest of a pixel's weights sum to 1; a
    position further than half a pixel outside gives a zero row. Where the map decimates, the kernel is widened by the
    local scale of either axis, at most `WIDEST`, so that A does not alias. The adjoint is the transpose of these
    normalised weights, and automatic differentiation of either goes through the other.

    Args:
        positions: (H, W, 2) absolute positions in the picture, pixels.
        size: (h, w) of the picture that is sampled.
        kernel: "nearest", "bilinear" or "lanczos3".
        widen: widen the kernel where the map decimates ("nearest" never does).
    Raises: ShapeError if `positions` is not a map; UserError if there is no such kernel.

    The weights have the dtype and the device of `positions`; pictures are brought to that dtype.
    """

    def __init__(self, positions: Tensor, size: tuple[int, int], kernel: str = "lanczos3", widen: bool = True) -> None:
        check_map(positions)
        if positions.dim() != 3:
            raise ShapeError(f"positions are {tuple(positions.shape)}: a Warp takes one map, (H, W, 2)")
        self.size = (int(size[0]), int(size[1]))
        self.grid = (positions.shape[0], positions.shape[1])
        self.kernel = kernel
        positions = positions.detach()
        self.positions = positions
        # Half open, as a pixel's own cell is: a position on the border line between two pixels belongs to one of them.
        beyond = positions.new_tensor([self.size[1] - 0.5, self.size[0] - 0.5])
        self.inside = ((positions >= -0.5) & (positions < beyond)).all(dim=-1)
        """(H, W) bool: False where the row of A is zero."""
        scale = torch.ones_like(positions)
        if widen and get_kernel(kernel).widens:
            scale = _decimation(positions)
        self._bags = _gather_weights(positions, scale, self.inside, self.size, get_kernel(kernel))

    def apply(self, image: Tensor) -> Tensor:
        """A image: (..., h, w) -> (..., H, W), the picture sampled at the positions."""
        if tuple(image.shape[-2:]) != self.size:
            raise ShapeError(f"image is {tuple(image.shape)}, this warp samples (..., {self.size[0]}, {self.size[1]})")
        return _Linear.apply(image, self, False)

    def adjoint(self, values: Tensor) -> Tensor:
        """A^T values: (..., H, W) -> (..., h, w), every value given back to the pixels it was sampled from."""
        if tuple(values.shape[-2:]) != self.grid:
            raise ShapeError(f"values are {tuple(values.shape)}, this warp gives (..., {self.grid[0]}, {self.grid[1]})")
        return _Linear.apply(values, self, True)

    @cached_property
    def _bags_transposed(self) -> "_Bags":
        return self._bags.transposed()


def sample(image: Tensor, positions: Tensor, kernel: str = "lanczos3", widen: bool = True) -> Tensor:
    """A picture seen through a map, for looking at: positions beyond the frame show the nearest edge pixel.

    Args:
        image: (..., C, h, w).
        positions: (..., H, W, 2) pixels of the image; leading dimensions, where there are any, are those of `image`.
    Returns: (..., C, H, W), dtype of `positions`.
    Raises: ShapeError if the leading dimensions differ; UserError if there is no such kernel.
    """
    check_map(positions)
    height, width = image.shape[-2:]
    held = positions.clamp(min=0).minimum(positions.new_tensor([width - 1, height - 1]))
    if held.dim() == 3:
        return Warp(held, (height, width), kernel, widen).apply(image)
    if image.shape[:-3] != held.shape[:-3]:
        raise ShapeError(
            f"image is {tuple(image.shape)}, positions {tuple(held.shape)}: give one map, or one map per image"
        )
    return torch.stack([sample(one, there, kernel, widen) for one, there in zip(image, held, strict=True)])


@dataclass(frozen=True)
class _Bags:
    """A sparse matrix by rows: row r sums `weight * picture[index]` over offsets[r] ... offsets[r + 1].

    On a CPU products go through MKL where torch has it, elsewhere through `embedding_bag`. Processor time on one core,
    640 x 360 x 3, Lanczos-3 (8.4 M weights), either way: MKL 5.6 ms, with a fourth channel of zeros 4.2;
    embedding_bag 6.9 ms; torch's product with a transpose that is not a sorted copy 490 ms; rows and columns apart
    8.5 and 12.5 ms, in a quarter of the memory, but with one width for all pixels. A weight takes 8 bytes, 16 once the
    adjoint has been asked for.
    """

    index: Tensor
    offsets: Tensor
    weight: Tensor
    columns: int

    def __call__(self, planes: Tensor) -> Tensor:
        """(C, columns) -> (C, rows)."""
        channels = len(planes)
        if self._matrix is None:
            # Through a memory format, for whose sake torch turns planes into pixels four times as fast as by a
            # transpose. A single plane needs its stride of 1 written out, or embedding_bag takes seven times as long.
            pixels = planes[None, :, None].contiguous(memory_format=torch.channels_last)[0, :, 0].T
            pixels = planes.reshape(-1, 1) if channels == 1 else pixels
            summed = partial(F.embedding_bag, mode="sum", include_last_offset=True)
            return summed(self.index, pixels, self.offsets, per_sample_weights=self.weight).T.contiguous()
        if channels != 3:
            return (self._matrix @ planes.T).T.contiguous()
        pixels = planes.new_zeros(planes.shape[1], 4)
        pixels[:, :3] = planes.T
        return (self._matrix @ pixels)[:, :3].T.contiguous()

    @cached_property
    def _matrix(self) -> Tensor | None:
        """The same as a matrix of torch's, where MKL multiplies by it; it shares the weights' memory."""
        if self.weight.device.type != "cpu" or self.index.dtype != torch.int32 or not torch.backends.mkl.is_available():
            return None
        size = (len(self.offsets) - 1, self.columns)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)
            return torch.sparse_csr_tensor(self.offsets, self.index, self.weight, size, check_invariants=False)

    def transposed(self) -> "_Bags":
        """The same weights sorted by column."""
        rows = len(self.offsets) - 1
        if self.weight.device.type == "cpu":
            # A counting sort, ten times as fast as torch.sort on a CPU.
            parts = (self.weight.numpy(), self.index.numpy(), self.offsets.numpy())
            turned = scipy.sparse.csr_array(parts, shape=(rows, self.columns)).tocsc()
            index, ends, weight = (torch.from_numpy(a) for a in (turned.indices, turned.indptr, turned.data))
            return _Bags(index.to(self.index), ends.to(self.index), weight, rows)
        column, order = torch.sort(self.index, stable=True)
        row = torch.repeat_interleave(torch.arange(rows, device=column.device), self.offsets.diff().long())
        edges = torch.arange(self.columns + 1, device=column.device, dtype=column.dtype)
        return _Bags(
            row[order].to(self.index), torch.searchsorted(column, edges).to(self.index), self.weight[order], rows
        )


def _decimation(positions: Tensor) -> Tensor:
    """(H, W, 2): extent along x and y of the picture that one output pixel stands for, between 1 and `WIDEST`."""
    extent = jacobian(positions).norm(dim=-1).nan_to_num(nan=1.0)
    return torch.where(extent > TOLERATED_SCALE, extent, 1.0).clamp(max=WIDEST)


def _gather_weights(positions: Tensor, scale: Tensor, inside: Tensor, size: tuple[int, int], kernel: Kernel) -> _Bags:
    """The operator's rows. Pixels are taken in groups of equal tap counts, so that a few wide ones cost only theirs."""
    height, width = size
    position, scale = positions.reshape(-1, 2), scale.reshape(-1, 2)
    taps = (2 * kernel.support * scale.amax(dim=-1)).ceil().long() * inside.reshape(-1)
    offsets = F.pad((taps**2).cumsum(0), (1, 0))
    entries = int(offsets[-1])
    integer = torch.int32 if max(entries, height * width) < 2**31 else torch.int64
    index = torch.empty(entries, dtype=integer, device=positions.device)
    weight = torch.empty(entries, dtype=positions.dtype, device=positions.device)
    at_once = AT_ONCE if positions.device.type == "cpu" else len(position)
    for count in taps.unique().tolist():
        for rows in (taps == count).nonzero()[:, 0].split(at_once) if count else ():
            x, weight_x = _axis_weights(position[rows, 0], scale[rows, 0], width, count, kernel)
            y, weight_y = _axis_weights(position[rows, 1], scale[rows, 1], height, count, kernel)
            group_index = (y * width).to(integer)[:, :, None] + x.to(integer)[:, None, :]
            group_weight = weight_y[:, :, None] * weight_x[:, None, :]
            first, end = int(offsets[rows[0]]), int(offsets[rows[-1] + 1])
            if end - first == group_weight.numel():
                index[first:end], weight[first:end] = group_index.reshape(-1), group_weight.reshape(-1)
                continue
            place = (offsets[rows, None] + torch.arange(count**2, device=rows.device)).reshape(-1)
            index.scatter_(0, place, group_index.reshape(-1))
            weight.scatter_(0, place, group_weight.reshape(-1))
    return _Bags(index, offsets.to(integer), weight, height * width)


def _axis_weights(centre: Tensor, scale: Tensor, length: int, taps: int, kernel: Kernel) -> tuple[Tensor, Tensor]:
    """Along one axis: the pixels (n, taps) around each centre and their weights, 0 outside the picture, sum 1."""
    first = (centre - kernel.support * scale).floor() + 1
    pixel = first[:, None] + torch.arange(taps, device=centre.device, dtype=centre.dtype)
    weight = kernel.weight((pixel - centre[:, None]) / scale[:, None])
    weight = torch.where((pixel >= 0) & (pixel < length), weight, 0.0)
    return pixel.clamp(0, length - 1).long(), weight / weight.sum(dim=-1, keepdim=True)


class _Linear(torch.autograd.Function):
    """A picture through a Warp, or through its adjoint; the derivative of either is the other."""

    @staticmethod
    def forward(ctx: Any, picture: Tensor, warp: Warp, turned: bool) -> Tensor:
        ctx.warp, ctx.turned, ctx.dtype = warp, turned, picture.dtype
        bags, grid = (warp._bags_transposed, warp.size) if turned else (warp._bags, warp.grid)
        values = bags(picture.to(bags.weight.dtype).reshape(-1, bags.columns))
        return values.reshape(*picture.shape[:-2], *grid)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Linear.apply(gradients[0], ctx.warp, not ctx.turned).to(ctx.dtype), None, None
