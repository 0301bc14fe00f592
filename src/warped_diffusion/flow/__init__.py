"""Motion: maps, interpolation kernels with adjoints, visibility, the motion of a clip, key frames."""

from warped_diffusion.flow.kernels import KERNELS, Kernel, Warp, get_kernel, sample
from warped_diffusion.flow.keyframes import KeyFrames, KeyLink
from warped_diffusion.flow.maps import (
    compose,
    displacement,
    frame_weight,
    identity_map,
    interpolate,
    jacobian,
    jacobian_scale,
    resize_map,
    resize_values,
)
from warped_diffusion.flow.motion import Motion, carry
from warped_diffusion.flow.motions import MOTIONS, KnownMotion, known_motion
from warped_diffusion.flow.visibility import agreement, credit, feather, visibility

__all__ = [
    "KERNELS",
    "MOTIONS",
    "Kernel",
    "KeyFrames",
    "KeyLink",
    "KnownMotion",
    "Motion",
    "Warp",
    "agreement",
    "carry",
    "compose",
    "credit",
    "displacement",
    "feather",
    "frame_weight",
    "get_kernel",
    "identity_map",
    "interpolate",
    "jacobian",
    "jacobian_scale",
    "known_motion",
    "resize_map",
    "resize_values",
    "sample",
    "visibility",
]
