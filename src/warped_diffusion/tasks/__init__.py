"""What was done to the clip, and what a model is told about it.

A task knows its degradation (to make test inputs and training pairs) and turns a degraded picture into the condition
that a denoiser takes. Training and inference draw both from here.
"""

from warped_diffusion.tasks.clean_up import CleanUp
from warped_diffusion.tasks.deblurring import Deblurring
from warped_diffusion.tasks.fill import composite, smooth_fill
from warped_diffusion.tasks.inpainting import Inpainting
from warped_diffusion.tasks.registry import TASKS, degrade, make_task
from warped_diffusion.tasks.resize import area_average, back_project, enlarge
from warped_diffusion.tasks.super_resolution import TOLERANCE, SuperResolution
from warped_diffusion.tasks.task import Task

__all__ = [
    "TASKS",
    "TOLERANCE",
    "CleanUp",
    "Deblurring",
    "Inpainting",
    "SuperResolution",
    "Task",
    "area_average",
    "back_project",
    "composite",
    "degrade",
    "enlarge",
    "make_task",
    "smooth_fill",
]
