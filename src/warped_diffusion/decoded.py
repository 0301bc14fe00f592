"""Decoded frames brought to agreement along the flow, for decoders that do not follow their latents' motion."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from warped_diffusion.diffusion import DenoisedGuidance, Link, Links
from warped_diffusion.errors import UserError
from warped_diffusion.flow import credit

ROUNDS = 4
"""The fewest after which the last of 16 frames differs from the first by no more than the true clip's own does on the
ruler of `bench decoder`, 0.74 and 0.65 times as much (three: 1.25 and 1.07), and the most with which no frame of its
clips loses PSNR against what was decoded."""

STRONGEST = 2.0
"""In holes a step is 1.5 times as long: from 2.5 on rounds would lead away from agreement there."""


class DecodedGuidance:
    r"""The guidance of the sampler's estimates once more, on decoded pictures: x <- x - correction, a few rounds.

    A picture is compared with the previous frame's and the current key frame's as they came out of here; nothing else
    is kept, whatever the length of the clip. Estimated flow is followed as far as the picture looks the same at both of
    its ends; in a hole, of which nothing is known, all the way.

    Args:
        strength: a multiple of the guidance's calibrated step; at 0 pictures stay as they are.
        size: (H, W) of the pictures.
        device: theirs.
        believe: follow the motion all the way everywhere, because it is known.
        rounds: corrections of each picture.
    Raises: UserError for a strength that is not from 0 to `STRONGEST`.
    """

    def __init__(
        self,
        strength: float,
        size: tuple[int, int],
        device: torch.device,
        believe: bool = False,
        rounds: int = ROUNDS,
    ) -> None:
        if not (isfinite(strength) and 0 <= strength <= STRONGEST):
            raise UserError(f"decoded_guidance is from 0, for none, to {STRONGEST:g}, got {strength!r}")
        self.strength, self.believe, self.rounds = strength, believe, rounds
        self.guidance = DenoisedGuidance(strength)
        self.pictures: dict[int, Tensor] = {}
        """By frame, those that the frame to come may be compared with."""
        self._links = Links(self.guidance, size, device)

    @torch.no_grad()
    def advance(
        self,
        picture: Tensor,
        step: Sequence[Tensor] | None,
        hole: Tensor | None = None,
        hold: Callable[[Tensor], Tensor] = lambda picture: picture,
    ) -> Tensor:
        """The next frame's picture, corrected.

        Args:
            picture: (C, H, W) in [-1, 1].
            step: the motion per pixel from the frame before, and `hole`, what alone may be changed: as for `Links`.
            hold: puts what is known of the picture back into it, after every round.
        Returns: (C, H, W) in [-1, 1]; the first picture of a shot as it is.
        """
        if self.strength == 0:
            return picture
        links = self._links.advance(step, hole)
        if hole is None and not self.believe:
            links = tuple(self._trusted(link, picture) for link in links)
        anchors = self.guidance.prepare(self._links.index, links, "euler")
        references = [self.pictures[anchor.link.reference] for anchor in anchors]
        for _ in range(self.rounds if anchors else 0):
            picture = hold(picture - self.guidance.correction(picture, anchors, references)).clamp(-1, 1)
        key = self._links.key_index
        self.pictures = {i: kept for i, kept in self.pictures.items() if i == key} | {self._links.index: picture}
        return picture

    def state(self) -> dict[str, Any]:
        """All that pictures to come are compared with, tensors and numbers: for `resume`."""
        pictures = [{"frame": frame, "value": picture} for frame, picture in self.pictures.items()]
        return {"links": self._links.state(), "pictures": pictures}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self._links.resume(state["links"])
        self.pictures = {kept["frame"]: kept["value"].to(self._links.device) for kept in state["pictures"]}

    def _trusted(self, link: Link, picture: Tensor) -> Link:
        """The link, its masks lowered where the picture and the reference do not look the same along it."""
        trust = credit(link.residual(picture, self.pictures[link.reference]) / 2)  # of frames in [0, 1]
        return replace(link, visible=link.visible * trust, known=link.known * link.brought(trust[None])[0].clamp(0, 1))
