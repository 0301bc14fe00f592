"""The ties of a clip's frames to their anchors, made one frame after the other."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from warped_diffusion.diffusion.guidance import Guidance
from warped_diffusion.diffusion.link import Link
from warped_diffusion.flow import KeyFrames, Warp


class Links:
    """Ties every frame to those earlier ones that a guidance asks for: the previous frame and the current key frame.

    Args:
        guidance: says which anchors, how heavy, and by which kernel.
        size: (H, W) of the grid that frames are compared on.
        device: where the links are to be.
    """

    def __init__(self, guidance: Guidance, size: tuple[int, int], device: torch.device) -> None:
        self.guidance, self.size, self.device = guidance, size, device
        self.index = -1
        """The frame that `advance` last made the links of."""
        self._keys = KeyFrames()
        # Where frames that may be linked to are no estimate; only of those with holes.
        self._true: dict[int, Tensor] = {}

    @property
    def key_index(self) -> int:
        """The key frame of the frame to come; the current one, where that has become a key."""
        return self._keys.key_index

    def advance(self, step: Sequence[Tensor] | None, hole: Tensor | None = None) -> tuple[Link, ...]:
        """The links of the next frame.

        Args:
            step: forward, backward (H, W, 2), visible and known (H, W), the motion from the frame before as in
                `Motion`; None where the frame begins a shot.
            hole: (H, W) of 0 and 1, of a task with holes: the links pull there alone, elsewhere the frame is its input.
        """
        self.index += 1
        links: tuple[Link, ...] = ()
        if step is not None:
            links = self._make(step, hole)
        elif self.index > 0:
            self._keys.begin_shot()
        self._remember(hole, links)
        return links

    def state(self) -> dict[str, Any]:
        """All that the links of frames to come depend on, tensors and numbers: for `resume`."""
        true = [{"frame": frame, "value": value} for frame, value in self._true.items()]
        return {"index": self.index, "keys": self._keys.state(), "true": true}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.index = state["index"]
        self._keys.resume(state["keys"])
        self._true = {kept["frame"]: kept["value"].to(self.device) for kept in state["true"]}

    def _make(self, step: Sequence[Tensor], hole: Tensor | None) -> tuple[Link, ...]:
        forward, backward, visible, known = step
        key = self._keys.advance(forward, backward, visible, known)
        weights = self.guidance.anchors
        links = []
        if "previous" in weights:
            links.append(self._link(self.index - 1, forward, visible, known, weights["previous"], hole))
        if "key" in weights:
            if key.is_previous and links:
                links[0] = replace(links[0], weight=weights["key"])
            else:
                links.append(self._link(key.key_index, key.forward, key.visible, key.known, weights["key"], hole))
        return tuple(links)

    def _link(
        self, reference: int, forward: Tensor, visible: Tensor, known: Tensor, weight: float, hole: Tensor | None
    ) -> Link:
        warp = Warp(forward.to(self.device), self.size, self.guidance.kernel)
        true = None if hole is None else self._true[reference]
        return Link(reference, warp, visible.to(self.device), known.to(self.device), weight, hole, true)

    def _remember(self, hole: Tensor | None, links: tuple[Link, ...]) -> None:
        """Where this frame will be the truth: outside of its hole, and in it what truth its links bring."""
        if hole is None:
            return
        made_up = hole
        for link in links:
            if link.sure is not None:
                made_up = made_up * (1 - link.sure * min(1.0, self.guidance.strength))
        kept = {i: true for i, true in self._true.items() if i == self.key_index}
        self._true = kept | {self.index: 1 - made_up}
