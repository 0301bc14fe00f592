"""Where one frame of a clip is seen in an earlier one, as guidance uses it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from warped_diffusion.flow.kernels import Warp

LEAST_REACH = 0.1
"""Less of the reference than this says nothing of a pixel."""


@dataclass(frozen=True, eq=False)
class Link:
    r"""A frame's tie to an earlier frame, its reference, through the motion between the two.

    With A the warp and M the visibility, a link compares an estimate h of its frame, sampled where the reference's
    pixels have gone, with the un-interpolated estimate of the reference:  r = A h - h_ref,  e = sum M r^2.

    Attributes:
        reference: index of the earlier frame in the clip.
        warp: A, samples an image of this frame on the reference's grid; its kernel is the guidance's kernel.
        visible: (H, W) in [0, 1], on the reference's grid: is that pixel still seen in this frame.
        known: (H, W) in [0, 1], on this frame's grid: was that pixel seen in the reference.
        weight: how strongly the reference counts beside the frame's other links.
        free: (H, W) of 0 and 1, on this frame's grid: the pixels that may be pulled; None for all.
        true: (H, W) in [0, 1], on the reference's grid: where the reference is no estimate but the truth; None for
            nowhere.
    """

    reference: int
    warp: Warp
    visible: Tensor
    known: Tensor
    weight: float = 1.0
    free: Tensor | None = None
    true: Tensor | None = None

    def state(self) -> dict[str, Any]:
        """What the link is made of, tensors and numbers: for `resumed`."""
        masks = {"visible": self.visible, "known": self.known, "free": self.free, "true": self.true}
        return {"reference": self.reference, "positions": self.warp.positions, "weight": self.weight, **masks}

    @classmethod
    def resumed(cls, state: dict[str, Any], size: tuple[int, int], kernel: str, device: torch.device) -> Self:
        """The link of a `state`, between frames of (H, W) pixels."""
        warp = Warp(state["positions"].to(device), size, kernel)
        free, true = (None if mask is None else mask.to(device) for mask in (state["free"], state["true"]))
        visible, known = state["visible"].to(device), state["known"].to(device)
        return cls(state["reference"], warp, visible, known, state["weight"], free, true)

    @cached_property
    def mask(self) -> Tensor:
        """M: (H, W) on the reference's grid, `visible` where the warp reaches a free pixel and 0 elsewhere."""
        mask = self.visible * self.warp.inside
        return mask if self.free is None else mask * (self.warp.apply(self.free[None])[0] != 0)

    @cached_property
    def shown(self) -> Tensor:
        """(H, W) in [0, 1], on this frame's grid: the pixels of which the reference has something to say."""
        shown = self.known * (self.reach > LEAST_REACH)
        return shown if self.free is None else shown * self.free

    @cached_property
    def sure(self) -> Tensor | None:
        """(H, W) in [0, 1], on this frame's grid: how far the reference says the truth there; None for nowhere."""
        return None if self.true is None else self.brought(self.true[None])[0].clamp(0, 1) * self.shown

    @cached_property
    def reach(self) -> Tensor:
        r"""A^T M 1: (H, W) on this frame's grid, how much of the reference arrives at each pixel; 1 at rest."""
        return self.warp.adjoint(self.mask[None])[0]

    @cached_property
    def gain(self) -> Tensor:
        r"""max(1, A^T M 1); A^T M A gains where the map compresses or folds."""
        return self.reach.clamp(min=1)

    def residual(self, denoised: Tensor, reference: Tensor) -> Tensor:
        """r = A h - h_ref on the reference's grid, of two estimates (C, H, W)."""
        return self.warp.apply(denoised) - reference

    def error(self, residual: Tensor) -> Tensor:
        """e = sum M r^2: the squared residual summed over visible pixels and channels, a scalar tensor."""
        return (self.mask * residual.square()).sum()

    def brought(self, reference: Tensor) -> Tensor:
        """A^T M h_ref / A^T M 1: the reference's estimate on this frame's grid, where enough of it arrives."""
        return self.warp.adjoint(self.mask * reference) / self.reach.clamp(min=LEAST_REACH)

    def pulled_and_brought(self, residual: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """`pull(residual)` and `brought(reference)`, by one product: a warp's weights cost more than the values do."""
        pull, brought = self.warp.adjoint(torch.stack([residual, reference]) * self.mask)
        brought = brought / self.reach.clamp(min=LEAST_REACH)
        return pull if self.free is None else pull * self.free, brought

    def pull(self, residual: Tensor) -> Tensor:
        """A^T M r: the residual brought back to this frame's free pixels, half the gradient of e in h."""
        pull = self.warp.adjoint(self.mask * residual)
        return pull if self.free is None else pull * self.free
