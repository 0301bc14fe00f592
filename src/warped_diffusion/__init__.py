"""Warped Diffusion: video restored with image diffusion models, steady from frame to frame."""

from warped_diffusion.diffusion import Denoiser
from warped_diffusion.errors import ShapeError, UserError, WarpedDiffusionError
from warped_diffusion.estimators import estimate_motion
from warped_diffusion.flow import Motion
from warped_diffusion.metrics import warping_error
from warped_diffusion.models import Model, PretrainedOptions
from warped_diffusion.noise import GaussianField
from warped_diffusion.restore import restore
from warped_diffusion.restore_video import restore_video
from warped_diffusion.tasks import degrade

__all__ = [
    "Denoiser",
    "GaussianField",
    "Model",
    "Motion",
    "PretrainedOptions",
    "ShapeError",
    "UserError",
    "WarpedDiffusionError",
    "degrade",
    "estimate_motion",
    "restore",
    "restore_video",
    "warping_error",
]
