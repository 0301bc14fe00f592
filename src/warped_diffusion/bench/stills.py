"""What benchmarks on moved stills share: how much is restored, and how figures and frames are put together."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from warped_diffusion.metrics import mse
from warped_diffusion.options import Options as Settings
from warped_diffusion.video import film_strip, write_picture

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
