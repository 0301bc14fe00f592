"""What was done to the clip, and what a model is told about it.

A task knows its degradation (to make test inputs and training pairs) and turns a degraded picture into the condition
that a denoiser takes. Training and inference draw both from here.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from warped_diffusion import artefacts
from warped_diffusion.diffusion.operators import AreaAverage, Mask, Operator
from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.masks import depth


class Task(Protocol):
    """A degradation and the condition that undoes it.

    `mask` is (..., 1, H, W), 1 where the frame is to be filled in. A task that `takes_mask` cannot do without one, the
    others refuse it: both raise UserError.
    """

    @property
    def name(self) -> str: ...

    @property
    def takes_mask(self) -> bool: ...

    @property
    def detail(self) -> float:
        """How much detail is made up where nothing else is said, 0 to 1 (see `restoration.Options`)."""
        ...

    def degrade(self, pictures: Tensor, mask: Tensor | None = None) -> Tensor:
        """(..., 3, H, W) in [0, 1] -> (..., 3, h, w): what the task's inputs look like."""
        ...

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the restored frame for a degraded frame of `size`."""
        ...

    def condition(self, pictures: Tensor, mask: Tensor | None = None) -> Mapping[str, Tensor]:
        """(B, 3, h, w) degraded pictures in [0, 1] -> named tensors with a leading batch dimension."""
        ...

    def agree(self, estimates: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Estimates of the frames, (B, 3, H, W) in [-1, 1], changed as far as they contradict the input."""
        ...

    def operator(self, condition: Mapping[str, Tensor]) -> Operator:
        """The degradation as a linear map, for the conditions of a batch.   Raises: UserError if it is not linear."""
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


TOLERANCE = 0.0175
"""Model units, per factor: by so much an estimate may contradict a pixel of the input, 18 levels of 255 at 8x.

What was made up in one frame does not average to nothing on the grid of the next, which lies elsewhere in the picture.
Held to 2.5 levels, the error to the first frame grows up to eightfold; let go, ghosts and specks of colour stay.
"""


@dataclass(frozen=True)
class SuperResolution:
    """Frames reduced by an integer factor, each pixel the area average of `scale` x `scale` of the original's.

    Raises: UserError unless scale is a whole number from 2 to 8.
    """

    scale: int = 4
    name: ClassVar[str] = "super-resolution"
    takes_mask: ClassVar[bool] = False
    detail: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        if self.scale not in range(2, 9):
            raise UserError(f"the scale must be a whole number from 2 to 8, got {self.scale}")

    def degrade(self, pictures: Tensor, mask: Tensor | None = None) -> Tensor:
        _refuse(mask, self.name)
        return area_average(pictures, self.scale)

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size[0] * self.scale, size[1] * self.scale

    def condition(self, pictures: Tensor, mask: Tensor | None = None) -> Mapping[str, Tensor]:
        """`picture`: an enlargement in [-1, 1] whose average is the input; `scale`: the factor, one number an item."""
        _refuse(mask, self.name)
        picture = back_project(pictures, self.scale) * 2 - 1
        return {"picture": picture, "scale": picture.new_full((len(picture),), float(self.scale))}

    def agree(self, estimates: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Where an estimate's average is further than `TOLERANCE` scale from the input, the rest is taken off."""
        gap = area_average(condition["picture"] - estimates, self.scale)
        gap = gap - gap.clamp(-TOLERANCE * self.scale, TOLERANCE * self.scale)
        return estimates + enlarge(gap, (estimates.shape[-2], estimates.shape[-1]))

    def operator(self, condition: Mapping[str, Tensor]) -> Operator:
        return AreaAverage(self.scale)

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
        values = artefacts.blur(values, generator.uniform(0.2, 0.6))
    if noisy:
        values = values + generator.normal(0, generator.uniform(0.2, 2.5) / 255, values.shape).astype(np.float32)
    if compressed:
        values = artefacts.jpeg(values, int(generator.integers(60, 98)))
    return torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1).clamp(0, 1)


def smooth_fill(pictures: Tensor, mask: Tensor, sweeps: int = 8) -> Tensor:
    """Holes spanned by a membrane that is fixed at their rims, Laplace's equation: smooth, and without a seam.

    From coarse to fine: each resolution, whose pixels are the means of what is known beneath them, gives the next one
    its first guess, and some sweeps of damped Jacobi take that guess to the finer rim. What lies outside the frame
    pulls nowhere.

    Args:
        pictures: (B, C, H, W); what is in the holes is not looked at.
        mask: (B, 1, H, W), 1 in the holes.
        sweeps: of relaxation, at every resolution.
    Returns: (B, C, H, W); 0 where nothing is known of a picture.
    """
    hole = mask > 0
    size = pictures.shape[-2:]
    known = (~hole).to(pictures.dtype)
    if max(size) == 1:
        return pictures * known
    odd = (0, size[1] % 2, 0, size[0] % 2)
    beneath = F.avg_pool2d(F.pad(known, odd), 2)
    means = F.avg_pool2d(F.pad(pictures.masked_fill(hole, 0), odd), 2) / beneath.clamp(min=0.25)
    coarse = smooth_fill(means, (beneath == 0).to(known.dtype), sweeps)
    guess = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)[..., : size[0], : size[1]]
    for _ in range(sweeps):
        filled = torch.where(hole, guess, pictures)
        guess = filled + 0.8 * (_neighbours(filled) - filled)  # 0.8 damps every wave that the coarser grid cannot hold
    return torch.where(hole, guess, pictures)


def _neighbours(x: Tensor) -> Tensor:
    """The mean of the four nearest pixels; beyond the frame its edge goes on."""
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return (x[..., 1:-1, :-2] + x[..., 1:-1, 2:] + x[..., :-2, 1:-1] + x[..., 2:, 1:-1]) / 4


@dataclass(frozen=True)
class Inpainting:
    """Frames of which a part is missing: the mask, 1 in the holes, says which."""

    name: ClassVar[str] = "inpainting"
    takes_mask: ClassVar[bool] = True
    # A video frame is softer than the photographs that the network learned from, and a fill must not stand out. Its
    # high-frequency energy is .5 to 1.4 times that of what the hole covers in the sample clip, and 1.3 to 2.8 with 1.
    detail: ClassVar[float] = 0.8

    def degrade(self, pictures: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mid grey in the holes; the mask is broadcast over leading dimensions."""
        hole = _demand(mask, pictures)
        return torch.where(hole, pictures.new_tensor(0.5), pictures)

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size

    def condition(self, pictures: Tensor, mask: Tensor | None = None) -> Mapping[str, Tensor]:
        """What is known, smoothly continued, and how far from it each pixel is. A mask may be soft: positive is a hole.

        `picture`: (B, 3, H, W) in [-1, 1], the input where it is known, in the holes its `smooth_fill`, and mid grey,
        0, where the hole is the whole frame; `mask`: (B, 1, H, W), 0 or 1; `depth`: (B, 1, H, W), distance to the
        nearest known pixel, 0 outside the holes.
        """
        hole = _demand(mask, pictures)
        mask = hole.to(pictures.dtype).expand(len(pictures), -1, -1, -1)
        return {"picture": smooth_fill(pictures * 2 - 1, mask), "mask": mask, "depth": depth(mask)}

    def agree(self, estimates: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Outside the holes the input itself."""
        return torch.where(condition["mask"] > 0, estimates, condition["picture"])

    def operator(self, condition: Mapping[str, Tensor]) -> Operator:
        return Mask(1 - condition["mask"])


@dataclass(frozen=True)
class CleanUp:
    """Frames that are noisy, or that a codec has left blocky and ringing. By how much is not told."""

    name: ClassVar[str] = "clean-up"
    takes_mask: ClassVar[bool] = False
    # What was spoilt is mostly smooth. A whole sample leaves grain there that the original does not have.
    detail: ClassVar[float] = 0.7

    NOISE: ClassVar[float] = 15 / 255
    QUALITY: ClassVar[int] = 30
    BLOCK: ClassVar[int] = 16
    TOLERANCE: ClassVar[float] = 0.13

    def degrade(self, pictures: Tensor, mask: Tensor | None = None) -> Tensor:
        """White Gaussian noise of `NOISE`, then JPEG of `QUALITY`.

        The noise is keyed by what the frame shows: it is another in every frame that differs from the last, and a frame
        is degraded alike by itself and within a clip.
        """
        _refuse(mask, self.name)
        flat = pictures.reshape(-1, *pictures.shape[-3:]).permute(0, 2, 3, 1).cpu().float().numpy()
        spoilt = [artefacts.jpeg(artefacts.sensor_noise(x, self.NOISE, _keyed(x)), self.QUALITY) for x in flat]
        return torch.from_numpy(np.stack(spoilt)).permute(0, 3, 1, 2).reshape(pictures.shape).to(pictures)

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size

    def condition(self, pictures: Tensor, mask: Tensor | None = None) -> Mapping[str, Tensor]:
        """`picture`: the input itself, in [-1, 1]."""
        _refuse(mask, self.name)
        return {"picture": pictures * 2 - 1}

    def agree(self, estimates: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Means over `BLOCK` x `BLOCK` pixels, or a little more, are held within `TOLERANCE` of the input's.

        The truth's are: 999 in 1000 under `degrade_roughly`. What guidance wrongly brought from elsewhere is not.
        """
        height, width = estimates.shape[-2:]
        blocks = (max(1, height // self.BLOCK), max(1, width // self.BLOCK))
        gap = F.adaptive_avg_pool2d(condition["picture"] - estimates, blocks)
        gap = gap - gap.clamp(-self.TOLERANCE, self.TOLERANCE)
        return estimates + enlarge(gap, (height, width))

    def operator(self, condition: Mapping[str, Tensor]) -> Operator:
        raise UserError("clean-up undoes what is not linear, so no measurement can be held to: give a model for it")

    def degrade_roughly(self, pictures: Tensor, generator: np.random.Generator) -> Tensor:
        """As clips come that need it, for training: of every kind and amount, one in twenty as it was.

        Args:
            pictures: (B, 3, H, W) in [0, 1].
            generator: draws kinds and amounts, once per picture.
        """
        return torch.stack([_spoil(picture, generator) for picture in pictures])


def _keyed(picture: np.ndarray) -> np.random.Generator:
    """A generator seeded by the picture, as 8 bits hold it."""
    return np.random.default_rng(zlib.crc32((picture * 255).round().astype(np.uint8).tobytes()))


def _spoil(picture: Tensor, generator: np.random.Generator) -> Tensor:
    """A quarter of the pictures are blurred, three quarters noisy, three quarters coded, in that order."""
    blurred, noisy, coded = generator.random(3) < (0.25, 0.75, 0.75)
    values = picture.permute(1, 2, 0).numpy()
    if blurred:
        values = artefacts.blur(values, generator.uniform(0.3, 1.0))
    if noisy:
        grained, greyed, leaning = generator.random(3) < 0.4
        grain = generator.uniform(0.4, 1.6) if grained else 0
        values = artefacts.sensor_noise(
            values,
            deviation=40 / 255 * generator.random() ** 1.5 / (1 + grain),  # smoothing has taken part of it
            generator=generator,
            grain=grain,
            grey=generator.random() if greyed else 0,
            lean=generator.uniform(-0.6, 0.6) if leaning else 0,
        )
    if coded:
        values = _code(values, generator)
    return torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1).clamp(0, 1)


def _code(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """JPEG, H.264 or MPEG-4; in half of the pictures the codec's blocks begin beyond the frame, as after a cut."""
    codec = generator.choice(("jpeg", "h264", "mpeg4"), p=(0.5, 0.35, 0.15))
    top, left = generator.integers(16, size=2) * (generator.random() < 0.5)
    height, width = picture.shape[:2]
    whole = np.pad(picture, ((top, 0), (left, 0), (0, 0)), "symmetric")
    if codec == "jpeg":
        coded = artefacts.jpeg(whole, _log_uniform(8, 80, generator))
    elif codec == "h264":
        coded = artefacts.video_frame(whole, "h264", int(generator.integers(22, 43)))
    else:
        coded = artefacts.video_frame(whole, "mpeg4", _log_uniform(2, 20, generator))
    return coded[top : top + height, left : left + width]


def _log_uniform(low: int, high: int, generator: np.random.Generator) -> int:
    return round(float(np.exp(generator.uniform(np.log(low), np.log(high)))))


def composite(pictures: Tensor, restored: Tensor, alpha: Tensor) -> Tensor:
    """The restored frame over the input: exactly the input where alpha is 0, exactly the restored frame where it is 1.

    (..., 3, H, W) each, alpha (..., 1, H, W) in [0, 1], to be 0 wherever the condition's mask is.
    """
    blend = pictures + alpha * (restored - pictures)
    return torch.where(alpha >= 1, restored, torch.where(alpha <= 0, pictures, blend))


def _demand(mask: Tensor | None, pictures: Tensor) -> Tensor:
    """Where the holes are, as booleans.   Raises: UserError without a mask, ShapeError if it is not the pictures'."""
    if mask is None:
        raise UserError("inpainting needs a mask, 1 where the frame is to be filled in: give one")
    if mask.ndim < 3 or mask.shape[-3] != 1 or mask.shape[-2:] != pictures.shape[-2:]:
        height, width = pictures.shape[-2:]
        raise ShapeError(f"the mask is (..., 1, {height}, {width}) like the frames, got {tuple(mask.shape)}")
    return mask.to(pictures.device) > 0


def _refuse(mask: Tensor | None, name: str) -> None:
    if mask is not None:
        raise UserError(f"task {name!r} takes no mask: leave it out")


TASKS: dict[str, type[SuperResolution] | type[Inpainting] | type[CleanUp]] = {
    "super-resolution": SuperResolution,
    "inpainting": Inpainting,
    "clean-up": CleanUp,
}


def make_task(name: str, scale: int | None = None) -> Task:
    """The task called `name`; `scale` is for those that change the frame's size, None for the task's own.

    Raises: UserError for a name that is not in `TASKS`, or a scale that the task does not have.
    """
    if name not in TASKS:
        raise UserError(f"task is one of {', '.join(TASKS)}, got {name!r}")
    options = {} if scale is None else {"scale": scale}
    known = {f.name for f in fields(TASKS[name])}
    if options.keys() - known:
        raise UserError(f"task {name!r} keeps the frame's size and has no scale, got {scale}: leave it out")
    return TASKS[name](**options)


def degrade(
    frames: Tensor, task: str = "super-resolution", scale: int | None = None, mask: Tensor | None = None
) -> Tensor:
    """The task's own degradation, to make test inputs from a good clip: (..., 3, H, W) -> (..., 3, h, w) in [0, 1].

    Args:
        scale: the factor of super-resolution, 4 if None.
        mask: (..., 1, H, W), 1 where inpainting is to fill in.
    Raises: UserError for an unknown task or scale or a mask that is missing or too much, ShapeError if the frames are
        too small or the mask does not fit them.
    """
    return make_task(task, scale).degrade(frames, mask)
