"""The tasks by name."""

from dataclasses import fields

from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.tasks.clean_up import CleanUp
from warped_diffusion.tasks.deblurring import Deblurring
from warped_diffusion.tasks.inpainting import Inpainting
from warped_diffusion.tasks.super_resolution import SuperResolution
from warped_diffusion.tasks.task import Task

TASKS: dict[str, type[SuperResolution] | type[Inpainting] | type[CleanUp] | type[Deblurring]] = {
    "super-resolution": SuperResolution,
    "inpainting": Inpainting,
    "clean-up": CleanUp,
    "deblurring": Deblurring,
}

LACKS = {"scale": "keeps the frame's size and has no scale", "blur": "has no blur"}
"""Of a task's option, what is said of the tasks that have none."""


def make_task(name: str, scale: int | None = None, blur: float | None = None) -> Task:
    """The task called `name`; None for its own scale or blur, which other tasks do not have.

    Raises: UserError for a name that is not in `TASKS`, or a scale or blur that the task does not have.
    """
    if name not in TASKS:
        raise UserError(f"task is one of {', '.join(TASKS)}, got {name!r}")
    options = {option: value for option, value in (("scale", scale), ("blur", blur)) if value is not None}
    for option in options.keys() - {f.name for f in fields(TASKS[name])}:
        raise UserError(f"task {name!r} {LACKS[option]}, got {options[option]}: leave it out")
    return TASKS[name](**options)  # type: ignore[arg-type]


def degrade(
    frames: Tensor,
    task: str = "super-resolution",
    scale: int | None = None,
    mask: Tensor | None = None,
    blur: float | None = None,
) -> Tensor:
    """The task's own degradation, to make test inputs from a good clip: (..., 3, H, W) -> (..., 3, h, w) in [0, 1].

    Args:
        scale: the factor of super-resolution, 4 if None.
        mask: (..., 1, H, W), 1 where inpainting is to fill in.
        blur: the deviation of deblurring's Gaussian, pixels, 1.5 if None.
    Raises: UserError for an unknown task, scale or blur or a mask that is missing or too much, ShapeError if the frames
        are too small or the mask does not fit them.
    """
    return make_task(task, scale, blur).degrade(frames, mask)
