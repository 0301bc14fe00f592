"""The embedded network: a small, fully convolutional, strictly local U-Net in pixel space.   [DESIGN §8]

Nothing in it looks at the frame as a whole: features are normalised over channels at each pixel, never over the
frame, and every change of resolution is low-passed. A crop therefore gives the same output as the frame does, away
from the crop's border, and a translation by the coarsest stride is an exact symmetry.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pixel_norm(x: Tensor, eps: float = 1e-4) -> Tensor:
    """Features with unit mean square over the channels of each pixel: (B, C, H, W) -> (B, C, H, W)."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + eps)


def half(x: Tensor) -> Tensor:
    """Half the resolution, low-passed by the binomial filter [1, 3, 3, 1] / 8 along each axis."""
    x = F.pad(x, (1, 1, 1, 1))
    x = (x[..., 0:-2:2] + x[..., 3::2]) * 0.125 + (x[..., 1:-1:2] + x[..., 2::2]) * 0.375
    return (x[..., 0:-2:2, :] + x[..., 3::2, :]) * 0.125 + (x[..., 1:-1:2, :] + x[..., 2::2, :]) * 0.375


def double(x: Tensor) -> Tensor:
    """Twice the resolution by linear interpolation, the transpose of `half`'s filter."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Block(nn.Module):
    """Pixel-normalised residual block; the embedding scales and shifts the features between its two convolutions."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.affine = nn.Linear(embedding, 2 * channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.affine(embedding)[:, :, None, None].chunk(2, 1)
        y = self.conv1(F.silu(pixel_norm(x)))
        y = torch.addcmul(shift, y, 1 + scale)
        return x + self.conv2(F.silu(y))


class UNet(nn.Module):
    """(B, in_channels, H, W), (B, label_channels) -> (B, out_channels, H, W); H and W multiples of `stride`.

    Args:
        channels: features at 1/2, 1/4, 1/8, ... of the frame's resolution (the input is un-shuffled by two).
        depths: blocks per resolution on the way down; the coarsest level has that many in all.
        depths_up: blocks per resolution on the way up, the coarsest level's entry unused.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        label_channels: int,
        channels: tuple[int, ...] = (64, 128, 256),
        depths: tuple[int, ...] = (2, 2, 4),
        depths_up: tuple[int, ...] = (3, 3, 0),
        embedding: int = 256,
    ) -> None:
        super().__init__()
        self.stride = 2 ** len(channels)
        self.embed = nn.Sequential(
            nn.Linear(label_channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.enter = nn.Conv2d(4 * in_channels, channels[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.ModuleList(Block(c, embedding) for _ in range(n)) for c, n in zip(channels, depths, strict=True)
        )
        self.up = nn.ModuleList(
            nn.ModuleList(Block(c, embedding) for _ in range(n)) for c, n in zip(channels, depths_up, strict=True)
        )
        pairs = list(pairwise(channels))
        self.coarser = nn.ModuleList(nn.Conv2d(fine, coarse, 1) for fine, coarse in pairs)
        self.finer = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairs)
        self.leave = nn.Conv2d(channels[0], 4 * out_channels, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        embedding = self.embed(labels)
        x = self.enter(F.pixel_unshuffle(x, 2))
        kept = []
        for level, blocks in enumerate(self.down):
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, embedding)
            if level < len(self.coarser):
                kept.append(x)
                x = half(self.coarser[level](x))
        for level in reversed(range(len(self.finer))):
            x = kept.pop() + double(self.finer[level](x))
            for block in self.up[level]:  # type: ignore[attr-defined]
                x = block(x, embedding)
        return F.pixel_shuffle(self.leave(F.silu(pixel_norm(x))), 2)
