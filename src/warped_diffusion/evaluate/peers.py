"""What others would do with the same input: in the tables beside our own ways, and run for real."""

import itertools
from collections.abc import Mapping
from dataclasses import fields
from typing import Protocol

import torch
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.evaluate import real_esrgan as network
from warped_diffusion.evaluate.clips import Clip
from warped_diffusion.evaluate.moved import warp_only as warped
from warped_diffusion.flow import Motion
from warped_diffusion.restore import restore
from warped_diffusion.tasks import SuperResolution, Task, composite, enlarge, smooth_fill

BICUBIC, WARP_ONLY, REAL_ESRGAN = "bicubic", "warp-only", "real-esrgan"


class Peer(Protocol):
    """A way to restore a clip that is not ours."""

    def __call__(self, clip: Clip, degraded: Tensor, task: Task, motion: Motion) -> Tensor:
        """The restored clip, (N, 3, H, W) in [0, 1].

        Args:
            clip: whose input it is. Its name is for errors, its mask for tasks that take one; its frames are the truth
                and not to be looked at.
            degraded: (N, 3, h, w) in [0, 1].
            motion: on the output grid, as whoever restores can know it: given, or estimated from `degraded`.
        Raises: UserError if there is no doing this task that way, or something is not installed.
        """
        ...


def bicubic(clip: Clip, degraded: Tensor, task: Task, motion: Motion) -> Tensor:
    """Each frame by itself, without a model: enlarged, as it is where the size stays, holes smoothly filled."""
    if task.takes_mask:
        return smooth_fill(degraded, _mask(clip)).clamp(0, 1)
    return enlarge(degraded, task.output_size((degraded.shape[-2], degraded.shape[-1]))).clamp(0, 1)


def warp_only(clip: Clip, degraded: Tensor, task: Task, motion: Motion) -> Tensor:
    """The first frame of each shot, restored by the embedded model alone, carried along the flow from there on.

    What it did not show is its nearest edge pixel. Outside the holes of a task that takes a mask is the input.
    """
    asked = {option.name: getattr(task, option.name) for option in fields(task)}  # type: ignore[arg-type]
    shots = []
    for start, stop in itertools.pairwise((0, *motion.cuts, len(degraded))):
        hole = _mask(clip)[start : start + 1] if task.takes_mask else None
        first = restore(degraded[start : start + 1], task.name, mask=hole, **asked)
        shots.append(warped(first[0], _part(motion, start, stop)))
    carried = torch.cat(shots)
    return composite(degraded, carried, _mask(clip).to(carried)) if task.takes_mask else carried


def real_esrgan(clip: Clip, degraded: Tensor, task: Task, motion: Motion) -> Tensor:
    """Each frame by itself through Real-ESRGAN x4plus, which knows one factor, 4."""
    if not isinstance(task, SuperResolution) or task.scale != network.SCALE:
        wanted = f"{task.name} {task.scale}×" if isinstance(task, SuperResolution) else task.name
        raise UserError(f"real-esrgan is for super-resolution {network.SCALE}×, {clip.name} for {wanted}: leave it out")
    return torch.stack([network.enlarge(frame) for frame in degraded])


PEERS: Mapping[str, Peer] = {BICUBIC: bicubic, WARP_ONLY: warp_only, REAL_ESRGAN: real_esrgan}
"""The peers, by the names that tables call them."""


def _mask(clip: Clip) -> Tensor:
    if clip.mask is None:
        raise UserError(f"{clip.name} has no mask, and the task needs one, (N, 1, H, W) with 1 in the holes: give it")
    return clip.mask


def _part(motion: Motion, start: int, stop: int) -> Motion:
    """The motion within one shot, of frames `start` up to, not including, `stop`."""
    pairs = slice(start, stop - 1)
    return Motion(motion.forward[pairs], motion.backward[pairs], motion.visible[pairs], motion.known[pairs])
