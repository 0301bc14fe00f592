"""What networks are shown of the input beside the noisy latents: the model's condition, made of the task's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from warped_diffusion.diffusion.contract import Codec, Condition
from warped_diffusion.errors import UserError
from warped_diffusion.tasks import area_average


class Shown(Protocol):
    """From the task's condition of B frames to `shown`, (B, K, h, w) on the latent grid; empty if nothing is shown."""

    def __call__(self, condition: Condition) -> Mapping[str, Tensor]: ...


def nothing(condition: Condition) -> Mapping[str, Tensor]:
    """To a model that makes pictures from text alone."""
    return {}


@dataclass(frozen=True, eq=False)
class MaskedPicture:
    """The mask, 1 where to fill, and the latents of the picture with mid grey in its holes, as inpainting models take.

    A latent cell is a hole if the pixel in its upper left corner is: those models were trained so.
    """

    codec: Codec

    def __call__(self, condition: Condition) -> Mapping[str, Tensor]:
        mask = (condition["mask"] > 0).to(condition["picture"].dtype)
        known = self.codec.encode(condition["picture"] * (1 - mask))
        small = F.interpolate(mask, size=known.shape[-2:], mode="nearest")
        return {"shown": torch.cat([small, known], 1)}


@dataclass(frozen=True, eq=False)
class Enlarged:
    """The latents of the enlarged input, for networks fine-tuned to see it."""

    codec: Codec

    def __call__(self, condition: Condition) -> Mapping[str, Tensor]:
        return {"shown": self.codec.encode(condition["picture"].clamp(-1, 1))}


@dataclass(frozen=True, eq=False)
class Small:
    """The input itself, a pixel for each latent cell, as the x4 upscaler takes it. No noise is added to it.

    It is the condition's `measurement`. Without one it is read back from the task's enlargement, of which it is the
    area average but for what that misses of the highest frequencies.
    """

    codec: Codec

    def __call__(self, condition: Condition) -> Mapping[str, Tensor]:
        small = condition.get("measurement")
        if small is None:
            small = area_average(condition["picture"], self.codec.factor)
        return {"shown": small.clamp(-1, 1)}


def choose_shown(extra: int, task: str, scale: int | None, codec: Codec, labelled: bool) -> Shown:
    """What a network with `extra` channels beside the noisy ones sees in a task; `labelled`: it is told a noise level.

    Raises: UserError if the channels fit no convention, or the task or its scale does not fit the channels.
    """
    c = codec.channels
    if extra == 0:
        return nothing
    if labelled and extra == 3:
        if task != "super-resolution" or scale not in (None, codec.factor):
            raise UserError(
                f"this model enlarges {codec.factor} times and does nothing else: "
                f"give --task super-resolution --scale {codec.factor}, got {_asked(task, scale)}"
            )
        return Small(codec)
    if extra == c + 1:
        if task != "inpainting":
            raise UserError(f"this model fills holes: give --task inpainting and a mask, got {_asked(task, scale)}")
        return MaskedPicture(codec)
    if extra == c:
        if task == "inpainting":
            raise UserError("this model is shown no mask: give a model for inpainting, with 9 input channels for 4")
        return Enlarged(codec)
    raise UserError(
        f"a network with {c + extra} input channels for {c} latent ones is of no kind known here: text alone has {c}, "
        f"a picture beside it {2 * c}, a mask and a picture {2 * c + 1}, an upscaler {c + 3}"
    )


def _asked(task: str, scale: int | None) -> str:
    return task if scale is None else f"{task} at scale {scale}"
