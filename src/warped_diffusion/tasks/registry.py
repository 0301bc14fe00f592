"""The tasks by name."""

from dataclasses import fields

from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.tasks.clean_up import CleanUp
from warped_diffusion.tasks.inpainting import Inpainting
from warped_diffusion.tasks.super_resolution import SuperResolution
from warped_diffusion.tasks.task import Task

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
