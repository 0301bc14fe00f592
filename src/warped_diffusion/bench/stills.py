"""Clips whose motion and every pixel are known: one picture, moved."""

import torch
from torch import Tensor

from warped_diffusion.errors import ShapeError
from warped_diffusion.flow.maps import compose, identity_map
from warped_diffusion.flow.motion import Motion
from warped_diffusion.metrics.spline import sample_spline


def still_clip(picture: Tensor, motion: Motion) -> Tensor:
    """The clip that `motion` makes of one picture: x_j(p) = picture(P_j(p)), P_j = P_{j−1} ∘ T_j⁻¹, P_0 the identity.

    The picture is read once per frame, by a quintic spline, so frames do not blur as they go on. What enters from
    beyond the picture is unknown: give a picture larger than the clip wanted, cut the clip's middle out, and measure it
    with the same motion made for the smaller grid.

    Args:
        picture: (C, H, W) in [0, 1].
        motion: of N frames, on the picture's grid. Where it shrinks the picture, fine detail aliases.
    Returns: (N, C, H, W) float32 in [0, 1], frame 0 being the picture.
    Raises: ShapeError if the motion is on another grid.
    """
    if picture.ndim != 3 or tuple(picture.shape[-2:]) != motion.size:
        raise ShapeError(
            f"picture is {tuple(picture.shape)}, the motion is for (C, {motion.size[0]}, {motion.size[1]})"
        )
    positions = identity_map(*motion.size, device=motion.backward.device)
    frames = [picture.double().cpu()]
    for backward in motion.backward:
        positions = compose(positions, backward)
        frames.append(sample_spline(picture, positions))
    return torch.stack(frames).clamp(0, 1).float()
