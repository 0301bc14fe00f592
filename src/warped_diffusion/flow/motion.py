"""The motion of a whole clip."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.flow.maps import check_map, frame_weight, identity_map, interpolate, resize_map, resize_values


@dataclass(frozen=True, eq=False)
class Motion:
    """How the picture moves from each frame of a clip of N frames to the next, on one grid, in pixels.

    Args:
        forward: (N-1, H, W, 2); forward[j-1] = T_j: pixel of frame j-1 -> its position in frame j.
        backward: (N-1, H, W, 2); backward[j-1] = T_j^-1: pixel of frame j -> its position in frame j-1.
        visible: (N-1, H, W) in [0, 1], on frame j-1's grid: is that pixel still seen in frame j.
        known: (N-1, H, W) in [0, 1], on frame j's grid: was that pixel seen in frame j-1; by default what `visible`
            says of the place that `backward` names.
        cuts: first frames of new shots, each between 1 and N-1; across them the maps mean nothing.
    Raises: ShapeError, naming the field, if shapes or cuts do not fit each other.
    """

    forward: Tensor
    backward: Tensor
    visible: Tensor
    known: Tensor = field(default=None)  # type: ignore[assignment]  # never None once made
    cuts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_map(self.forward, "forward")
        if self.forward.dim() != 4:
            raise ShapeError(
                f"forward is {tuple(self.forward.shape)}, expected (N-1, H, W, 2), one map per pair of frames"
            )
        _check_shape("backward", self.backward, self.forward.shape)
        _check_shape("visible", self.visible, self.forward.shape[:-1])
        object.__setattr__(self, "known", _known_or_carried(self.known, self.visible, self.backward))
        _check_shape("known", self.known, self.forward.shape[:-1])
        object.__setattr__(self, "cuts", tuple(sorted({int(cut) for cut in self.cuts})))
        if any(not 0 < cut < self.frames for cut in self.cuts):
            raise ShapeError(
                f"cuts are {self.cuts}, a clip of {self.frames} frames can begin a shot at 1 ... {self.frames - 1}"
            )

    @property
    def frames(self) -> int:
        """N, the number of frames of the clip."""
        return len(self.forward) + 1

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the grid."""
        return self.forward.shape[1], self.forward.shape[2]

    def resize(self, size: tuple[int, int]) -> "Motion":
        """The same motion on another grid (height, width) over the same picture; masks are pooled after the test."""
        return Motion(
            forward=resize_map(self.forward, size),
            backward=resize_map(self.backward, size),
            visible=resize_values(self.visible, size),
            known=resize_values(self.known, size),
            cuts=self.cuts,
        )

    @classmethod
    def analytic(
        cls,
        frames: int,
        size: tuple[int, int],
        shift: tuple[float, float] = (0.0, 0.0),
        rotation: float = 0.0,
        zoom: float = 1.0,
    ) -> "Motion":
        """A steady similarity about the frame's centre c: T(x) = c + zoom R (x - c) + shift, and its exact inverse.

        Args:
            frames: N, at least 1.
            size: (H, W).
            shift: (right, down) pixels per frame.
            rotation: degrees per frame, from x towards y (clockwise on the screen).
            zoom: factor per frame; above 1 the picture grows.
        Returns: a Motion in float32, computed in float64; visible and known are the positions that lie in the frame.
        Raises: UserError if there is no frame or the zoom is not positive.
        """
        if frames < 1 or not zoom > 0:
            raise UserError(f"frames is {frames} and zoom {zoom}: give at least 1 frame and a zoom above 0")
        cos, sin = (zoom * f(math.radians(rotation)) for f in (math.cos, math.sin))
        linear = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
        centre = torch.tensor([(size[1] - 1) / 2, (size[0] - 1) / 2], dtype=torch.float64)
        offset = torch.tensor(shift, dtype=torch.float64)
        pixels = identity_map(*size, dtype=torch.float64)
        forward = (pixels - centre) @ linear.T + centre + offset
        backward = (pixels - centre - offset) @ torch.linalg.inv(linear).T + centre
        pairs = frames - 1
        return cls(
            forward=forward.float().expand(pairs, -1, -1, -1),
            backward=backward.float().expand(pairs, -1, -1, -1),
            visible=frame_weight(forward, size).float().expand(pairs, -1, -1),
            known=frame_weight(backward, size).float().expand(pairs, -1, -1),
        )


def carry(mask: Tensor, positions: Tensor) -> Tensor:
    """A mask (..., H, W) seen through a map (..., H, W, 2): its value at the positions, 0 outside the frame."""
    there = interpolate(mask.unsqueeze(-3), positions).squeeze(-3)
    return there * frame_weight(positions, (mask.shape[-2], mask.shape[-1])).to(mask.dtype)


def _known_or_carried(known: Tensor | None, visible: Tensor, backward: Tensor) -> Tensor:
    return carry(visible, backward) if known is None else known


def _check_shape(name: str, value: Tensor, expected: torch.Size) -> None:
    if value.shape != expected:
        raise ShapeError(
            f"{name} is {tuple(value.shape)}, expected {tuple(expected)} beside the other fields of Motion"
        )
