"""Clean-up: frames that are noisy or compressed."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from warped_diffusion import artefacts
from warped_diffusion.diffusion.operators import Operator
from warped_diffusion.errors import UserError
from warped_diffusion.tasks.resize import enlarge
from warped_diffusion.tasks.task import refuse


@dataclass(frozen=True)
class CleanUp:
    """Frames that are noisy, or that a codec has left blocky and ringing. By how much is not told."""

    name: ClassVar[str] = "clean-up"
    takes_mask: ClassVar[bool] = False
    # What was spoilt is mostly smooth. A whole sample leaves grain there that the original does not have.
    detail: ClassVar[float] = 0.7
    noise: ClassVar[float] = 0.0

    NOISE: ClassVar[float] = 15 / 255
    QUALITY: ClassVar[int] = 30
    BLOCK: ClassVar[int] = 16
    TOLERANCE: ClassVar[float] = 0.13

    def degrade(self, pictures: Tensor, mask: Tensor | None = None) -> Tensor:
        """White Gaussian noise of `NOISE`, then JPEG of `QUALITY`.

        The noise is keyed by what the frame shows: it is another in every frame that differs from the last, and a frame
        is degraded alike by itself and within a clip.
        """
        refuse(mask, self.name)
        flat = pictures.reshape(-1, *pictures.shape[-3:]).permute(0, 2, 3, 1).cpu().float().numpy()
        spoilt = [artefacts.jpeg(artefacts.sensor_noise(x, self.NOISE, _keyed(x)), self.QUALITY) for x in flat]
        return torch.from_numpy(np.stack(spoilt)).permute(0, 3, 1, 2).reshape(pictures.shape).to(pictures)

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size

    def condition(self, pictures: Tensor, mask: Tensor | None = None) -> Mapping[str, Tensor]:
        """`picture`: the input itself, in [-1, 1]."""
        refuse(mask, self.name)
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
