"""Sampling with an image diffusion model: noise levels, solvers, guidance and the loop that drives them."""

from warped_diffusion.diffusion.consistency import Consistent, conjugate_gradients, project, some_levels
from warped_diffusion.diffusion.contract import Codec, Condition, Denoiser
from warped_diffusion.diffusion.divided import Divided
from warped_diffusion.diffusion.guidance import (
    GUIDANCE,
    DenoisedGuidance,
    Guidance,
    NetworkGuidance,
    NoGuidance,
    make_guidance,
)
from warped_diffusion.diffusion.link import Link
from warped_diffusion.diffusion.links import Links
from warped_diffusion.diffusion.operators import AreaAverage, Blur, Mask, Operator
from warped_diffusion.diffusion.schedule import karras_sigmas
from warped_diffusion.diffusion.solvers import SOLVERS, Solver, get_solver
from warped_diffusion.diffusion.tiles import Tiled, TiledCodec, Tiling, choose_tiling
from warped_diffusion.diffusion.wavefront import FrameInput, Wavefront, sample

__all__ = [
    "GUIDANCE",
    "SOLVERS",
    "AreaAverage",
    "Blur",
    "Codec",
    "Condition",
    "Consistent",
    "DenoisedGuidance",
    "Denoiser",
    "Divided",
    "FrameInput",
    "Guidance",
    "Link",
    "Links",
    "Mask",
    "NetworkGuidance",
    "NoGuidance",
    "Operator",
    "Solver",
    "Tiled",
    "TiledCodec",
    "Tiling",
    "Wavefront",
    "choose_tiling",
    "conjugate_gradients",
    "get_solver",
    "karras_sigmas",
    "make_guidance",
    "project",
    "sample",
    "some_levels",
]
