"""The doors to restoring a clip from Python: a tensor whole, or any frames as a stream."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from warped_diffusion.diffusion import Guidance
from warped_diffusion.diffusion.contract import Denoiser
from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.flow import Motion
from warped_diffusion.holes import Holes
from warped_diffusion.memory import loading, sampling
from warped_diffusion.models import Model, PretrainedOptions
from warped_diffusion.options import Options, check_cuts
from warped_diffusion.restoration import Progress, Restoration
from warped_diffusion.running import Run


def restore(
    frames: Tensor,
    task: str | None = None,
    scale: int | None = None,
    model: "str | Path | Denoiser | Model" = "embedded",
    noise: str = "gp",
    guidance: str | Guidance = "denoised",
    steps: int = 20,
    solver: str = "euler",
    strength: float = 1.0,
    detail: float | None = None,
    lanes: int | str = "auto",
    seed: int = 0,
    device: str | None = None,
    mask: Tensor | None = None,
    motion: Motion | None = None,
    spectrum: str | None = None,
    flow: str = "auto",
    fresh: float = 0.0,
    dilate: int | None = None,
    feather: int | None = None,
    cuts: str | Sequence[int] = "auto",
    shot: int = 0,
    consistency: bool | None = None,
    tile: int | str = "auto",
    decoded_guidance: float = 0.0,
    pretrained: PretrainedOptions | None = None,
    blur: float | None = None,
    preset: str | None = None,
    guided: float = 1.0,
) -> Tensor:
    """Restore a clip that is held in memory; `Options` explains the keywords.

    Args:
        frames: (N, 3, h, w) in [0, 1], the degraded clip.
        mask: what to fill in, for tasks that take one: True, or above one half from 0 to 1. (H, W), (1, H, W) or
            (1, 1, H, W) for all frames, (N, H, W) or (N, 1, H, W) for each its own.
        motion: the clip's motion on the output grid, where it is known; estimated from `frames` if None.
    Returns: (N, 3, H', W') in [0, 1], float32 on the CPU; exactly the input beyond the rims of the holes.
    Raises: ShapeError if frames, mask or motion have the wrong shape, UserError for an option that cannot be used.
    """
    if frames.ndim != 4 or frames.shape[1] != 3 or not len(frames):
        raise ShapeError(f"frames are (N, 3, h, w) with at least one frame, got {tuple(frames.shape)}")
    options = Options(
        task=task,
        scale=scale,
        model=model,
        noise=noise,
        spectrum=spectrum,
        guidance=guidance,
        strength=strength,
        detail=detail,
        steps=steps,
        solver=solver,
        flow=flow,
        lanes=lanes,
        seed=seed,
        device=device,
        fresh=fresh,
        dilate=dilate,
        feather=feather,
        cuts=cuts,
        shot=shot,
        consistency=consistency,
        tile=tile,
        decoded_guidance=decoded_guidance,
        pretrained=pretrained,
        blur=blur,
        preset=preset,
        guided=guided,
    )
    beyond = [cut for cut in check_cuts(cuts) or () if cut >= len(frames)]
    if beyond:
        raise UserError(f"cuts has frame {max(beyond)}, the clip's last is {len(frames) - 1}: count from 0")
    if motion is not None and motion.frames != len(frames):
        raise ShapeError(f"motion is of {motion.frames} frames, the clip has {len(frames)}: give one of the same clip")
    masks = None if mask is None else _of_frames(mask, len(frames))
    if mask is not None and not (mask > 0.5).any():
        warnings.warn("the mask is empty: no frame has a hole, and all are given back as they are", stacklevel=2)
    return torch.stack(list(restore_stream(frames, options, motion, masks=masks)))


def restore_stream(
    frames: Iterable[Tensor],
    options: Options,
    motion: Motion | None = None,
    progress: Progress = lambda _: None,
    masks: Tensor | Iterable[Tensor] | None = None,
) -> Iterator[Tensor]:
    """Restore a clip as a stream: memory does not grow with its length.

    Args:
        frames: (3, h, w) in [0, 1] each, all of one size, asked for as they are needed.
        motion: on the output grid; estimated if None.
        progress: told of every evaluation of the denoiser.
        masks: for tasks that take one: a tensor for all frames, or an iterable of one for each, asked for as the frames
            are; (1, h, w) or (h, w), as in `restore`.
    Returns: an iterator of (3, H', W') in [0, 1] on the CPU, one for each frame, in order.
    Raises: as `restore`; a wrong option at once, a wrong frame when it is reached, and UserError where a GPU's memory
        does not suffice.
    """
    run = open_run(frames, options, motion, progress, masks)
    return iter(()) if run is None else sampling(iter(run), options, run.lanes)


def open_run(
    frames: Iterable[Tensor],
    options: Options,
    motion: Motion | None = None,
    progress: Progress = lambda _: None,
    masks: Tensor | Iterable[Tensor] | None = None,
) -> Run | None:
    """The same as a `Run`, which may be broken off and gone on with; None for a clip without a frame.

    Raises: as `restore_stream`, but for what comes of a GPU's memory while frames are sampled.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        return None
    size = (first.shape[-2], first.shape[-1])
    with loading(options):
        restoration = Restoration(options, size, motion)
    if restoration.task.takes_mask and masks is None:
        raise UserError(f"{restoration.task.name} needs a mask, 1 where the frame is to be filled in: give one")
    if not restoration.task.takes_mask and masks is not None:
        raise UserError(f"task {restoration.task.name!r} takes no mask: leave it out")
    if not restoration.task.takes_mask and (options.dilate, options.feather) != (None, None):
        raise UserError(f"task {restoration.task.name!r} takes no mask: leave out what is to be done to its rim")
    holes = None if masks is None else Holes(masks, size, *options.rim)
    return Run(restoration, chain([first], frames), holes, progress)


def _of_frames(mask: Tensor, count: int) -> Tensor | list[Tensor]:
    """One mask for all frames, or one for each.   Raises: ShapeError if there are more or fewer, or it is no mask."""
    if mask.ndim == 4 and mask.shape[1] == 1:
        mask = mask[:, 0]
    if mask.ndim not in (2, 3):
        raise ShapeError(f"mask is (H, W), or (N, H, W) or (N, 1, H, W) for N frames, got {tuple(mask.shape)}")
    if mask.ndim == 3 and len(mask) not in (1, count):
        raise ShapeError(f"mask has {len(mask)} frames, the clip has {count}: give one for all, or one for each")
    return mask if mask.ndim == 2 or len(mask) == 1 else list(mask)
