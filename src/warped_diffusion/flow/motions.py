"""Motions that are known exactly, by name: what noise and measures are tried on."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.flow.maps import frame_weight, identity_map
from warped_diffusion.flow.motion import Motion


@dataclass(frozen=True, eq=False)
class KnownMotion:
    """A motion of the whole picture that goes on evenly: the same step from each frame to the next.

    Its maps are one family φ_t with φ_s ∘ φ_t = φ_{s+t}, so each of them, a step or the way back to the first frame, is
    computed at once and none is composed. Float64 inside, float32 out.

    Attributes:
        name: in `MOTIONS`.
        frames: N.
        size: (H, W).
        step: what t grows by from a frame to the next.
    """

    name: str
    frames: int
    size: tuple[int, int]
    step: float

    def positions(self, index: int) -> Tensor:
        """P_j: for a pixel of frame `index`, its position in the first frame, (H, W, 2)."""
        return self._map(-index * self.step).float()

    @property
    def backward(self) -> Tensor:
        """T_j⁻¹: for a pixel of any frame but the first, its position in the one before, (H, W, 2)."""
        return self._map(-self.step).float()

    def inside(self, index: int) -> Tensor:
        """1 where the first frame showed what a pixel of frame `index` shows, 0 beyond its border: (H, W)."""
        return frame_weight(self._map(-index * self.step), self.size).float()

    @property
    def motion(self) -> Motion:
        """The same as a `Motion`, all pixels visible that lie in the frame."""
        steps = self._map(self.step), self._map(-self.step)
        forward, backward = (step.float().expand(self.frames - 1, -1, -1, -1) for step in steps)
        visible, known = (frame_weight(step, self.size).float().expand(self.frames - 1, -1, -1) for step in steps)
        return Motion(forward, backward, visible, known)

    def _map(self, t: float) -> Tensor:
        height, width = self.size
        centre = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64)
        offset = identity_map(height, width, dtype=torch.float64) - centre
        return centre + MOTIONS[self.name].move(offset, t, min(self.size))


Move = Callable[[Tensor, float, int], Tensor]
"""move(offset, t, side): where a point (..., 2) of the picture, relative to the frame's centre, has got to after t;
`side` is the frame's shorter one, pixels."""


@dataclass(frozen=True)
class _Kind:
    move: Move
    per_frame: bool = False  # t counts frames; otherwise it goes from 0 at the first frame to 1 at the last


def _linear(generator: list[list[float]]) -> _Kind:
    """offset -> exp(t G)·offset."""
    matrix = torch.tensor(generator, dtype=torch.float64)
    return _Kind(lambda offset, t, _: offset @ torch.linalg.matrix_exp(t * matrix).T)


def _shift(right: float, down: float) -> _Kind:
    velocity = torch.tensor([right, down], dtype=torch.float64)
    return _Kind(lambda offset, t, _: offset + t * velocity, per_frame=True)


def _swirl(degrees: float, radius: float) -> _Kind:
    """A turn by `degrees` at the centre, fading as exp(−r²/2R²), R = `radius` shorter sides: circles stay circles."""

    def move(offset: Tensor, t: float, side: int) -> Tensor:
        fading = torch.exp(-offset.square().sum(-1) / (2 * (radius * side) ** 2))
        angle = math.radians(degrees) * t * fading
        x, y = offset.unbind(-1)
        return torch.stack([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()], dim=-1)

    return _Kind(move)


_TURN, _ZOOM, _STRETCH = math.radians(30), math.log(1.6), math.log(1.4)

MOTIONS: Mapping[str, _Kind] = {
    "shift": _shift(0.37, 0.21),  # pixels a frame, right and down
    "integer-shift": _shift(2, 1),
    "rotation": _linear([[0, -_TURN], [_TURN, 0]]),  # 30 degrees in all, clockwise on the screen
    "zoom-in": _linear([[_ZOOM, 0], [0, _ZOOM]]),  # the picture grows 1.6 times in all
    "zoom-out": _linear([[-_ZOOM, 0], [0, -_ZOOM]]),
    "shear": _linear([[0, 0.3], [0, 0]]),  # x moves by 0.3 y in all
    "stretch": _linear([[_STRETCH, 0], [0, -_STRETCH]]),  # 1.4 times as wide and 1/1.4 times as high in all
    "swirl": _swirl(40, 1 / 4),  # 40 degrees in all at the centre; stretches by 1.29 at its steepest
}
"""What `known_motion` knows. "In all" is at the last frame, however many there are; everything is about the centre."""


def known_motion(name: str, frames: int, size: tuple[int, int]) -> KnownMotion:
    """The motion of that name.

    Args:
        frames: N, at least 1.
        size: (height, width), pixels.
    Raises: UserError if there is no such motion, no frame or no pixel.
    """
    if name not in MOTIONS:
        raise UserError(f'motion "{name}" is not known: choose one of {", ".join(MOTIONS)}')
    if frames < 1 or len(size) != 2 or min(size) < 1:
        raise UserError(f"frames is {frames} and size {tuple(size)}: give at least one frame and (height, width)")
    step = 1.0 if MOTIONS[name].per_frame else 1 / max(frames - 1, 1)
    return KnownMotion(name, frames, (size[0], size[1]), step)
