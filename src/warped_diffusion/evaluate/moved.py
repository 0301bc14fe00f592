"""Clips whose motion and every pixel are known: one picture, moved."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.flow.maps import compose, identity_map
from warped_diffusion.flow.motion import Motion
from warped_diffusion.metrics.spline import sample_spline
from warped_diffusion.video import VideoReader

SAMPLE = Path(__file__).parents[1] / "assets" / "sample-original.mp4"
CENTRE = (0.3, 0.6)
"""Where in the sample's first frame the still is cut, as fractions (down, right): leaves, flowers and grass, as finely
drawn in what leaves the clip under steadiness's motions as in what enters it, so that its own detail stays the same."""
MARGIN = 40
"""Pixels of picture kept on each side of the clip, for what the motions bring in and for the spline's reach."""

MakeMotion = Callable[[int, tuple[int, int]], Motion]
"""The motion of so many frames on a grid (height, width)."""


def still(size: tuple[int, int], margin: int = MARGIN) -> Tensor:
    """A piece of the shipped clip's first frame, `margin` larger than `size` on each side: (3, H, W) in [0, 1].

    Raises: UserError if the frame is not as large.
    """
    with VideoReader(SAMPLE, stop=1) as reader:
        (frame,) = list(reader)
    wanted = [length + 2 * margin for length in size]
    if any(want > length for want, length in zip(wanted, frame.shape[-2:], strict=True)):
        raise UserError(f"the shipped clip has no still of {wanted[1]}x{wanted[0]} pixels: give a folder of pictures")
    top, left = (
        min(max(round(at * length - want / 2), 0), length - want)
        for at, length, want in zip(CENTRE, frame.shape[-2:], wanted, strict=True)
    )
    return frame[:, top : top + wanted[0], left : left + wanted[1]]


def positions_in_first(motion: Motion) -> Iterator[Tensor]:
    """P_j for every frame j, (H, W, 2):   P_j = P_{j−1} ∘ T_j⁻¹, P_0 the identity."""
    positions = identity_map(*motion.size, device=motion.backward.device)
    yield positions
    for backward in motion.backward:
        positions = compose(positions, backward)
        yield positions


def still_clip(picture: Tensor, motion: Motion) -> Tensor:
    """The clip that `motion` makes of one picture: x_j(p) = picture(P_j(p)).

    The picture is read once per frame, by a quintic spline, so frames do not blur as they go on. What enters from
    beyond the picture is unknown: give a picture larger than the clip wanted, cut the clip's middle out, and measure it
    with the same motion made for the smaller grid.

    Args:
        picture: (C, H, W) in [0, 1].
        motion: of N frames, on the picture's grid. Where it shrinks the picture, fine detail aliases.
    Returns: (N, C, H, W) float32 in [0, 1], frame 0 being the picture.
    Raises: ShapeError if the motion is on another grid.
    """
    if picture.ndim != 3 or tuple(picture.shape[-2:]) != motion.size:
        raise ShapeError(
            f"picture is {tuple(picture.shape)}, the motion is for (C, {motion.size[0]}, {motion.size[1]})"
        )
    positions = positions_in_first(motion)
    next(positions)  # frame 0 is the picture as it is
    frames = [picture.double().cpu(), *(sample_spline(picture, there) for there in positions)]
    return torch.stack(frames).clamp(0, 1).float()


def middle_clip(
    picture: Tensor, motion: MakeMotion, frames: int, size: tuple[int, int], margin: int = MARGIN
) -> Tensor:
    """The middle, of `size`, of the clip that a motion makes of a larger picture: (N, C, *size) in [0, 1].

    Raises: UserError unless the picture is `margin` larger than `size` on each side.
    """
    large = (size[0] + 2 * margin, size[1] + 2 * margin)
    if tuple(picture.shape[-2:]) != large:
        raise UserError(f"the still is {tuple(picture.shape)}, expected {margin} pixels more than {size} each side")
    moved = still_clip(picture, motion(frames, large))
    return moved[..., margin:-margin, margin:-margin].contiguous()


def warp_only(first: Tensor, motion: Motion) -> Tensor:
    """The clip that a restored first frame makes by itself; what it did not show repeats its nearest edge pixel.

    Args:
        first: (C, H, W) in [0, 1].
    Returns: (N, C, H, W), read by the ruler's own spline, once per frame.
    """
    height, width = motion.size
    positions = positions_in_first(motion)
    next(positions)
    frames = [first]
    for there in positions:
        held = there.clamp(min=0).minimum(there.new_tensor([width - 1, height - 1]))
        frames.append(sample_spline(first, held).clamp(0, 1).float())
    return torch.stack(frames)
