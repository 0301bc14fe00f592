"""Key frames: the earlier frame that a later one is held to besides its neighbour."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from warped_diffusion.flow.maps import compose, interpolate, jacobian_scale
from warped_diffusion.flow.visibility import visibility

MINIMUM_COVERAGE = 0.6
"""A key frame must show this share of the current frame. On a zoom out the key stays in sight but covers ever less."""

SCALE_RANGE = (0.7, 1.4)
"""A key frame seen at a median scale outside this range has too little detail for the current frame, or too much."""


@dataclass(frozen=True, eq=False)
class KeyLink:
    """The correspondence of one frame j with its key frame K.

    Args:
        key_index: K.
        forward: (H, W, 2), T_{K->j}: pixel of frame K -> its position in frame j.
        visible: (H, W) in [0, 1], on frame K's grid: is that pixel seen in frame j, and in every frame between.
        known: (H, W) in [0, 1], on frame j's grid: was that pixel seen in frame K.
        is_previous: K = j - 1, so that this link and the one to the previous frame are the same.
    """

    key_index: int
    forward: Tensor
    visible: Tensor
    known: Tensor
    is_previous: bool


class _Chain(NamedTuple):
    """The steps from the key frame to the current one, composed: maps both ways, the smallest mask along the way."""

    forward: Tensor
    backward: Tensor
    visible: Tensor
    known: Tensor


class KeyFrames:
    """Chooses key frames as a clip streams by, from its motion alone: frame 0 is the first, and each frame after it is
    announced by `advance`, or by `begin_shot` where it begins a shot.

    A frame becomes the key of those after it where the key so far covers too little of it (`MINIMUM_COVERAGE`) or is
    seen in it at too different a scale (`SCALE_RANGE`), and where it begins a shot.
    """

    def __init__(self) -> None:
        self.index = 0
        """The current frame, the last one that was announced."""
        self.key_index = 0
        """The key of the frame after the current one."""
        self._chain: _Chain | None = None

    def begin_shot(self) -> None:
        """Go on to the next frame, the first of a new shot: it is linked to nothing, and the key of those after it."""
        self.index += 1
        self._renew()

    def advance(self, forward: Tensor, backward: Tensor, visible: Tensor, known: Tensor) -> KeyLink:
        """Go on to the next frame, j, of the same shot.

        Args:
            forward, backward: (H, W, 2), T_j and T_j^-1.
            visible, known: (H, W), as in `Motion`.
        Returns: the link of frame j to the key so far. Afterwards `key_index` is j where j is the new key.
        Raises: ShapeError if the maps' grids differ from those before.
        """
        self.index += 1
        step = _Chain(forward, backward, visible, known)
        self._chain = step if self._chain is None else _extend(self._chain, step)
        link = self._link(self._chain)
        if _is_spent(link):
            self._renew()
        return link

    def state(self) -> dict[str, Any]:
        """All that the frames to come depend on, tensors and numbers: for `resume`."""
        chain = None if self._chain is None else self._chain._asdict()
        return {"index": self.index, "key": self.key_index, "chain": chain}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.index, self.key_index = state["index"], state["key"]
        self._chain = None if state["chain"] is None else _Chain(**state["chain"])

    def _renew(self) -> None:
        self.key_index, self._chain = self.index, None

    def _link(self, chain: _Chain) -> KeyLink:
        is_previous = self.key_index == self.index - 1
        visible, known = chain.visible, chain.known
        if not is_previous:
            # Errors of estimated maps add up along the chain: the composed maps must agree with each other as well.
            there, back = visibility(chain.forward, chain.backward)
            visible, known = torch.minimum(visible, there), torch.minimum(known, back)
        return KeyLink(self.key_index, chain.forward, visible, known, is_previous)


def _extend(chain: _Chain, step: _Chain) -> _Chain:
    """T_{K->j} = T_j o T_{K->j-1}, its inverse the other way round; a pixel must be seen at every step."""
    return _Chain(
        forward=compose(step.forward, chain.forward),
        backward=compose(chain.backward, step.backward),
        visible=torch.minimum(chain.visible, interpolate(step.visible[None], chain.forward)[0]),
        known=torch.minimum(step.known, interpolate(chain.known[None], step.backward)[0]),
    )


def _is_spent(link: KeyLink) -> bool:
    seen = link.visible > 0.5
    if not seen.any() or link.known.mean() < MINIMUM_COVERAGE:
        return True
    scale = float(jacobian_scale(link.forward)[seen].median())
    return not SCALE_RANGE[0] <= scale <= SCALE_RANGE[1]
