"""The holes of a clip as its restoration meets them: one after the other, grown and softened."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.masks import binary, dilate, soften

WIDEST = 500
"""Pixels: more than this is a slip of the keyboard."""


class Hole(NamedTuple):
    """What is missing of a frame: `mask`, 0 or 1, and how much of the restored frame is to show; (1, H, W) each."""

    mask: Tensor
    alpha: Tensor


def make_hole(mask: Tensor, grow: float, feather: float) -> Hole:
    """The hole of a mask (1, H, W) of 0 and 1: what is to be made up is the mask, grown, and the rim around it.

    The restored frame shows alone on the grown mask, and passes into the input within the rim, all of which is made up:
    so none of what the mask covers shines through, and outside of the hole nothing changes.
    """
    alpha = soften(dilate(mask, grow), feather)
    return Hole((alpha > 0).float(), alpha)


def check_width(name: str, pixels: int) -> int:
    """The number of pixels given.   Raises: UserError if it is no whole number from 0 to `WIDEST`."""
    if isinstance(pixels, bool) or not isinstance(pixels, int) or not 0 <= pixels <= WIDEST:
        raise UserError(f"{name} is a whole number of pixels from 0 to {WIDEST}, got {pixels!r}")
    return pixels


class Holes:
    """The holes of a clip's frames, in order.

    Args:
        masks: a tensor for all frames, or an iterable of one for each; (1, H, W) or (H, W), see `masks.binary`.
        size: (height, width) of the frames.
        grow, feather: pixels, see `make_hole`.
    Raises: UserError for a width that is no whole number from 0 to `WIDEST`; as `binary` for a mask for all.
    """

    def __init__(self, masks: Tensor | Iterable[Tensor], size: tuple[int, int], grow: int, feather: int) -> None:
        self.size = size
        self.grow, self.feather = check_width("dilate", grow), check_width("feather", feather)
        self.one: Hole | None = None
        """The hole of all frames, if they share it."""
        self._masks: Iterator[Tensor] = iter(())
        if isinstance(masks, Tensor):
            self.one = make_hole(binary(masks, size), grow, feather)
        else:
            self._masks = iter(masks)

    def take(self, index: int) -> Hole:
        """The hole of frame `index`, to be asked for in order.   Raises: UserError if there is none, as `binary`."""
        if self.one is not None:
            return self.one
        mask = next(self._masks, None)
        if mask is None:
            raise UserError(f"there are masks for {index} frames, the clip has more: give one for all, or one for each")
        return make_hole(binary(mask, self.size, f"the mask of frame {index}"), self.grow, self.feather)

    def skip(self, index: int) -> None:
        """Pass over the hole of frame `index`, in the place of `take`."""
        if self.one is None and next(self._masks, None) is None:
            raise UserError(f"there are masks for {index} frames, the clip has more: give one for all, or one for each")

    def finish(self, count: int) -> None:
        """To be told that the clip has ended.   Raises: UserError if there are masks left."""
        if self.one is None and next(self._masks, None) is not None:
            raise UserError(f"there are more masks than the clip's {count} frames: give one for all, or one for each")


def missing(hole: Hole | None, device: torch.device) -> Tensor | None:
    """The hole's mask with a batch dimension, on that device."""
    return None if hole is None else hole.mask[None].to(device)
