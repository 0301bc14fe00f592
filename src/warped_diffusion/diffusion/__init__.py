"""Sampling with an image diffusion model: noise levels, solvers, guidance and the loop that drives them."""

from warped_diffusion.diffusion.contract import Condition, Denoiser
from warped_diffusion.diffusion.guidance import (
    GUIDANCE,
    DenoisedGuidance,
    Guidance,
    NetworkGuidance,
    NoGuidance,
    make_guidance,
)
from warped_diffusion.diffusion.link import Link
from warped_diffusion.diffusion.schedule import karras_sigmas
from warped_diffusion.diffusion.solvers import SOLVERS, Solver, get_solver
from warped_diffusion.diffusion.wavefront import FrameInput, sample

__all__ = [
    "GUIDANCE",
    "SOLVERS",
    "Condition",
    "DenoisedGuidance",
    "Denoiser",
    "FrameInput",
    "Guidance",
    "Link",
    "NetworkGuidance",
    "NoGuidance",
    "Solver",
    "get_solver",
    "karras_sigmas",
    "make_guidance",
    "sample",
]
