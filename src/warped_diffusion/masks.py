"""Holes in pictures: masks as users give them, grown and softened, drawn at random, and how deep a pixel lies in one.

A mask is (..., 1, H, W): 1 is to be filled in, 0 is known.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError

WHOLE = 0.25
"""Share of the random masks that leave nothing known."""

FAR = 1024.0
"""Depth, in pixels, where nothing is known, and the most that is told."""

Box = tuple[int, int, int, int]
"""LEFT, TOP, WIDTH, HEIGHT, pixels."""


def binary(mask: Tensor, size: tuple[int, int], name: str = "the mask") -> Tensor:
    """A mask as a user gives it, checked, and cut at one half: (H, W) or (1, H, W) -> (1, H, W) float32, 0 or 1.

    Args:
        mask: booleans, or values from 0 to 1; above one half is a hole.
        size: (height, width) of the frames.
        name: what to call it in an error.
    Raises: ShapeError if it is not of the frames' size, UserError for values that are not from 0 to 1.
    """
    mask = mask.cpu()
    if tuple(mask.shape) not in (size, (1, *size)):
        given = f"{mask.shape[-1]}x{mask.shape[-2]}" if mask.ndim in (2, 3) else f"of shape {tuple(mask.shape)}"
        raise ShapeError(
            f"{name} is {given}, the frames are {size[1]}x{size[0]}: give (1, {size[0]}, {size[1]}), one channel, "
            "of the frames' size"
        )
    values = mask.to(torch.float32).reshape(1, *size)
    if not bool(((values >= 0) & (values <= 1)).all()):  # false for what is not a number, too
        raise UserError(f"{name} holds values from {values.min():g} to {values.max():g}: give 0 to 1, 1 is a hole")
    return (values > 0.5).float()


def box_mask(box: Box, size: tuple[int, int]) -> Tensor:
    """1 in the box, cut at the frame's edge: (1, *size) float32.

    Raises: UserError if the box has no pixel, or none in the frame.
    """
    left, top, width, height = box
    if width < 1 or height < 1:
        raise UserError(
            f"a box is LEFT,TOP,WIDTH,HEIGHT with sides of at least 1 pixel, got {left},{top},{width},{height}"
        )
    mask = torch.zeros(1, *size)
    mask[:, max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)] = 1
    if not mask.any():
        raise UserError(f"the box {left},{top},{width},{height} lies outside of the frame of {size[1]}x{size[0]}")
    return mask


def dilate(mask: Tensor, pixels: float) -> Tensor:
    """The hole and all that lies within so many pixels of it: (..., 1, H, W) -> the same shape, 0 or 1."""
    return (_away(mask) <= pixels).to(mask.dtype)


def soften(mask: Tensor, feather: float) -> Tensor:
    """How much of the restored frame shows: 1 in the hole, falling smoothly to 0 within `feather` pixels around it.

    At distance t it is a^2 (3 - 2 a), a = 1 - t / (feather + 1). (..., 1, H, W) -> the same shape, in [0, 1].
    """
    a = (1 - _away(mask) / (feather + 1)).clamp(0, 1)
    return a * a * (3 - 2 * a)


def _away(mask: Tensor) -> Tensor:
    """Distance of each pixel to the nearest hole, 0 in it, `FAR` where there is none."""
    return depth(mask <= 0)


def random_mask(size: tuple[int, int], generator: np.random.Generator, whole: float = WHOLE) -> Tensor:
    """A mask as inpainting models are trained with: the whole frame with probability `whole`, else one of `SHAPES`.

    Apart from whole frames, some of the frame is masked and some is not.

    Args:
        size: (height, width), at least two pixels in all.
        generator: draws everything.
    Returns: (1, height, width) float32, 0 or 1.
    Raises: UserError if whole is not a share, or the frame is too small to have a hole in it.
    """
    if not 0 <= whole <= 1:
        raise UserError(f"the share of whole-frame masks is from 0 to 1, got {whole}")
    if min(size) < 1 or size[0] * size[1] < 2:
        raise UserError(f"a mask of {size[1]}x{size[0]} has no room for a hole: give a larger size")
    if generator.random() < whole:
        return torch.ones(1, *size)
    shares = np.array([shape.share for shape in SHAPES.values()])
    while True:  # anew from the shape on: in a tiny frame there are shapes that always cover it
        shape = list(SHAPES.values())[generator.choice(len(SHAPES), p=shares / shares.sum())]
        mask = shape.draw(size, generator)
        if mask.any() and not mask.all():
            return torch.from_numpy(mask.astype(np.float32))[None]


def random_masks(count: int, size: tuple[int, int], generator: np.random.Generator, whole: float = WHOLE) -> Tensor:
    """`count` masks of `random_mask`, drawn one after the other: (count, 1, height, width) float32."""
    return torch.stack([random_mask(size, generator, whole) for _ in range(count)])


def depth(mask: Tensor) -> Tensor:
    """Distance of each masked pixel's centre to the nearest known one's, 0 where known, at most `FAR`.

    (..., 1, H, W) of any values, masked where positive -> the same shape, float32, pixels. `FAR` if nothing is known.
    """
    holes = (mask > 0).cpu().numpy().astype(np.uint8).reshape(-1, *mask.shape[-2:])
    distances = np.stack([_distance(hole) for hole in holes])
    return torch.from_numpy(distances).reshape(mask.shape).to(mask.device)


def _distance(hole: np.ndarray) -> np.ndarray:
    if hole.all():
        return np.full(hole.shape, FAR, np.float32)
    measured = cv2.distanceTransform(hole, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).clip(max=FAR)
    # Its last bit changes from call to call; between pixels squared distances are whole numbers.
    return np.sqrt(np.square(measured, dtype=np.float64).round()).astype(np.float32)


def boxes(size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """One to three boxes, sides from 1/10 to 3/4 of the frame's."""
    mask = np.zeros(size, np.uint8)
    for _ in range(_few(generator)):
        sides = [max(1, round(n * generator.uniform(0.1, 0.75))) for n in size]
        top, left = (int(generator.integers(n - side + 1)) for n, side in zip(size, sides, strict=True))
        mask[top : top + sides[0], left : left + sides[1]] = 1
    return mask


def ellipses(size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """One to three ellipses at any angle, axes from 1/10 to 3/4 of the frame's shorter side."""
    mask = np.zeros(size, np.uint8)
    for _ in range(_few(generator)):
        centre = tuple(int(generator.integers(n)) for n in reversed(size))
        axes = tuple(max(1, round(min(size) * generator.uniform(0.05, 0.375))) for _ in range(2))
        cv2.ellipse(mask, centre, axes, generator.uniform(0, 180), 0, 360, 1, cv2.FILLED)
    return mask


def strokes(size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """One to three free-form strokes: a poly-line of two to seven pieces that turns as it goes, with a round brush."""
    mask = np.zeros(size, np.uint8)
    shorter = min(size)
    for _ in range(_few(generator)):
        brush = max(1, round(shorter * generator.uniform(0.04, 0.25)))
        x, y = (generator.uniform(0, n) for n in reversed(size))
        angle = generator.uniform(0, 2 * np.pi)
        for _ in range(int(generator.integers(2, 8))):
            angle += generator.uniform(-1, 1) * 0.6 * np.pi
            length = shorter * generator.uniform(0.05, 0.4)
            end = x + length * np.cos(angle), y + length * np.sin(angle)
            cv2.line(mask, (round(x), round(y)), (round(end[0]), round(end[1])), 1, brush)  # its ends are round
            x, y = np.clip(end[0], 0, size[1]), np.clip(end[1], 0, size[0])
    return mask


def half_frame(size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """The frame on one side of an upright or level line: a quarter to three quarters of it."""
    mask = np.zeros(size, np.uint8)
    axis, far = int(generator.integers(2)), generator.random() < 0.5
    line = max(1, round(size[axis] * generator.uniform(0.25, 0.75)))
    beyond = slice(size[axis] - line, None) if far else slice(line)
    mask[(beyond, slice(None)) if axis == 0 else (slice(None), beyond)] = 1
    return mask


def surround(size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """Everything but a box of 1/4 to 3/4 of the frame's sides, as for pictures that are to be continued outwards."""
    mask = np.ones(size, np.uint8)
    sides = [max(1, round(n * generator.uniform(0.25, 0.75))) for n in size]
    top, left = (int(generator.integers(n - side + 1)) for n, side in zip(size, sides, strict=True))
    mask[top : top + sides[0], left : left + sides[1]] = 0
    return mask


class Shape(NamedTuple):
    """A kind of hole: its share among those that are not the whole frame, and what draws it as (H, W) of 0 and 1."""

    share: float
    draw: Callable[[tuple[int, int], np.random.Generator], np.ndarray]


SHAPES: Mapping[str, Shape] = {
    "strokes": Shape(0.35, strokes),
    "boxes": Shape(0.25, boxes),
    "ellipses": Shape(0.2, ellipses),
    "half frame": Shape(0.15, half_frame),
    "surround": Shape(0.05, surround),
}


def _few(generator: np.random.Generator) -> int:
    return int(generator.choice((1, 2, 3), p=(0.6, 0.25, 0.15)))
