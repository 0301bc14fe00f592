"""Clips whose motion and every pixel are known: one picture, moved; and what benchmarks on such clips share."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.flow.maps import compose, identity_map
from warped_diffusion.flow.motion import Motion
from warped_diffusion.metrics import mse
from warped_diffusion.metrics.spline import sample_spline
from warped_diffusion.options import Options as Settings
from warped_diffusion.video import VideoReader, film_strip, write_picture

SAMPLE = Path(__file__).parents[1] / "assets" / "sample-original.mp4"
CENTRE = (0.3, 0.6)
"""Where in the sample's first frame the still is cut, as fractions (down, right): leaves, flowers and grass, as finely
drawn in what leaves the clip under steadiness's motions as in what enters it, so that its own detail stays the same."""
MARGIN = 40
"""Pixels of picture kept on each side of the clip, for what the motions bring in and for the spline's reach."""

MakeMotion = Callable[[int, tuple[int, int]], Motion]
"""The motion of so many frames on a grid (height, width)."""

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Figures = TypeVar("Figures", bound="DataclassInstance")


@dataclass(frozen=True)
class Effort:
    """How much is restored: what the tables ask for, or less for a quick look.

    Attributes:
        size: (height, width) of the clip; in super-resolution multiples of the scale.
        draws: restorations of the clip, each with a seed of its own.
        lanes: frames in one batch, the same for every way.
    """

    frames: int = 16
    size: tuple[int, int] = (96, 128)
    draws: int = 3
    steps: int = Settings().steps
    solver: str = Settings().solver
    lanes: int = 8


NONE, WARP_ONLY, TRUE = "none", "warp only", "true clip"
"""Names of clips: without guidance, the first of its frames warped, and what a perfect restoration gives."""


def still(size: tuple[int, int]) -> Tensor:
    """A piece of the shipped clip's first frame, `MARGIN` larger than `size` on each side: (3, H, W) in [0, 1]."""
    with VideoReader(SAMPLE, stop=1) as reader:
        (frame,) = list(reader)
    wanted = [length + 2 * MARGIN for length in size]
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


def middle_clip(picture: Tensor, motion: MakeMotion, frames: int, size: tuple[int, int]) -> Tensor:
    """The middle, of `size`, of the clip that a motion makes of a larger picture: (N, C, *size) in [0, 1].

    Raises: UserError unless the picture is `MARGIN` larger than `size` on each side.
    """
    large = (size[0] + 2 * MARGIN, size[1] + 2 * MARGIN)
    if tuple(picture.shape[-2:]) != large:
        raise UserError(f"the still is {tuple(picture.shape)}, expected {MARGIN} pixels more than {size} each side")
    moved = still_clip(picture, motion(frames, large))
    return moved[..., MARGIN:-MARGIN, MARGIN:-MARGIN].contiguous()


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


def pooled_psnr(clip: Tensor, truth: Tensor, mask: Tensor) -> float:
    """PSNR over the masked pixels of all frames together; nan if there are none.

    A mean over frames would let the few pixels of some of them count most.

    Args:
        clip, truth: (N, C, H, W) in [0, 1].
        mask: (N, H, W), booleans or weights.
    """
    weight = mask.double().sum((-2, -1))
    shown = weight > 0
    error = mse(clip[shown], truth[shown], mask[shown])
    return float(-10 * torch.log10((error * weight[shown]).sum() / weight.sum()))


def mean(draws: Sequence[Figures]) -> Figures:
    """Each figure's mean over several restorations; figures are a dataclass of floats."""
    first = draws[0]
    return replace(first, **{f.name: statistics.fmean(getattr(draw, f.name) for draw in draws) for f in fields(first)})


def draw_frames(folder: Path, name: str, clips: Mapping[str, Mapping[str, Tensor]], frames: int) -> None:
    """Write NAME-1.png, ...: for each motion the first, middle and last frame of every clip (N, 3, H, W).

    Raises: UserError if they cannot be written.
    """
    chosen = sorted({0, frames // 2, frames - 1})
    for number, of_motion in enumerate(clips.values(), 1):
        strips = [[clip[j] for j in chosen] for clip in of_motion.values()]
        picture = film_strip(strips, list(of_motion), [f"frame {j}" for j in chosen])
        folder.mkdir(parents=True, exist_ok=True)
        write_picture(folder / f"{name}-{number}.png", picture)
