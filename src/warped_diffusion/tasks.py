"""What was done to the clip, and what a model is told about it.

A task knows its degradation (to make test inputs and training pairs) and turns a degraded picture into the condition
that a denoiser takes. Training and inference draw both from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError


class Task(Protocol):
    """A degradation and the condition that undoes it."""

    @property
    def name(self) -> str: ...

    def degrade(self, pictures: Tensor) -> Tensor:
        """(..., 3, H, W) in [0, 1] -> (..., 3, h, w): what the task's inputs look like."""
        ...

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the restored frame for a degraded frame of `size`."""
        ...

    def condition(self, pictures: Tensor) -> Mapping[str, Tensor]:
        """(B, 3, h, w) degraded pictures in [0, 1] -> named tensors with a leading batch dimension."""
        ...


def area_average(pictures: Tensor, factor: int) -> Tensor:
    """The mean of every factor x factor block: (..., C, H, W) -> (..., C, H // factor, W // factor).

    Rows and columns that do not fill a block are cut off.   Raises: ShapeError if there is not one whole block.
    """
    height, width = pictures.shape[-2:]
    if height < factor or width < factor:
        raise ShapeError(
            f"frames are {width}x{height}, smaller than one block of {factor}x{factor}: use a smaller scale"
        )
    pictures = pictures[..., : height // factor * factor, : width // factor * factor]
    flat = F.avg_pool2d(pictures.reshape(-1, *pictures.shape[-3:]), factor)
    return flat.reshape(*pictures.shape[:-2], *flat.shape[-2:])


def enlarge(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic enlargement (a = -0.5), half-pixel centres: (B, C, h, w) -> (B, C, *size)."""
    return F.interpolate(pictures, size=size, mode="bicubic", align_corners=False, antialias=True)


def back_project(pictures: Tensor, factor: int, rounds: int = 3) -> Tensor:
    """Enlarged so that its area average is the input again: bicubic, and what the average misses added, a few times.

    (Irani and Peleg, 1991.) (B, C, h, w) -> (B, C, h factor, w factor); values may leave the input's range a little.
    """
    size = (pictures.shape[-2] * factor, pictures.shape[-1] * factor)
    enlarged = enlarge(pictures, size)
    for _ in range(rounds):
        enlarged = enlarged + enlarge(pictures - area_average(enlarged, factor), size)
    return enlarged


@dataclass(frozen=True)
class SuperResolution:
    """Frames reduced by an integer factor, each pixel the area average of `scale` x `scale` of the original's.

    Raises: UserError unless scale is a whole number from 2 to 8.
    """

    scale: int = 4
    name: str = "super-resolution"

    def __post_init__(self) -> None:
        if self.scale not in range(2, 9):
            raise UserError(f"the scale must be a whole number from 2 to 8, got {self.scale}")

    def degrade(self, pictures: Tensor) -> Tensor:
        return area_average(pictures, self.scale)

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size[0] * self.scale, size[1] * self.scale

    def condition(self, pictures: Tensor) -> Mapping[str, Tensor]:
        """`picture`: an enlargement in [-1, 1] whose average is the input; `scale`: the factor, one number an item."""
        picture = back_project(pictures, self.scale) * 2 - 1
        return {"picture": picture, "scale": picture.new_full((len(picture),), float(self.scale))}

    def degrade_roughly(self, pictures: Tensor, generator: np.random.Generator) -> Tensor:
        """As real clips come, for training: mostly the plain average, at times blurred, noisy or compressed.

        Args:
            pictures: (B, 3, H, W) in [0, 1], H and W multiples of `scale`.
            generator: draws the kind and amount, once per picture.
        """
        low = area_average(pictures, self.scale)
        return torch.stack([_roughen(picture, generator) for picture in low])


def _roughen(picture: Tensor, generator: np.random.Generator) -> Tensor:
    """Three pictures in twenty are slightly blurred, as many noisy, one in five compressed (JPEG)."""
    blurred, noisy, compressed = generator.random(3) < (0.15, 0.15, 0.2)
    values = picture.permute(1, 2, 0).numpy()
    if blurred:
        values = cv2.GaussianBlur(values, (0, 0), generator.uniform(0.2, 0.6), borderType=cv2.BORDER_REFLECT)
    if noisy:
        values = values + generator.normal(0, generator.uniform(0.2, 2.5) / 255, values.shape).astype(np.float32)
    if compressed:
        quality = int(generator.integers(60, 98))
        coded = (np.clip(values[..., ::-1], 0, 1) * 255).round().astype(np.uint8)  # OpenCV's order: blue, green, red
        encoded = cv2.imencode(".jpg", coded, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        values = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.float32)[..., ::-1] / 255
    return torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1).clamp(0, 1)


TASKS = {"super-resolution": SuperResolution}


def make_task(name: str, scale: int) -> SuperResolution:
    """The task called `name`.   Raises: UserError for a name that is not in `TASKS`."""
    if name not in TASKS:
        raise UserError(f"task is one of {', '.join(TASKS)}, got {name!r}")
    return TASKS[name](scale)


def degrade(frames: Tensor, task: str = "super-resolution", scale: int = 4) -> Tensor:
    """The task's own degradation, to make test inputs from a good clip: (..., 3, H, W) -> (..., 3, h, w) in [0, 1].

    Raises: UserError for an unknown task or scale, ShapeError if the frames are too small for it.
    """
    return make_task(task, scale=scale).degrade(frames)
