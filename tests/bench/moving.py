"""Clips of which the motion is known: a window that goes over a smooth random picture, a fixed step a frame."""

from fractions import Fraction

import torch

from warped_diffusion.video import VideoWriter

SIZE = (48, 64)
STEP = (2, 1)
"""Pixels right and down by which the picture moves from each frame to the next."""


def texture(height, width, seed=0, cell=4):
    """(3, height, width) in [0, 1], waves no shorter than about two cells."""
    coarse = torch.rand(1, 3, height // cell + 2, width // cell + 2, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, scale_factor=cell, mode="bicubic", align_corners=False)
    return fine[0, :, :height, :width].clamp(0, 1)


def moving(frames=8, size=SIZE, step=STEP, still=()):
    """(frames, 3, *size): x_j(p) = picture(p - j step); the frames in `still` repeat the one before."""
    height, width = size
    far = frames * max(step)
    picture = texture(height + far, width + far)
    shown, at = [], 0
    for j in range(frames):
        at += j > 0 and j not in still
        top, left = far - at * step[1], far - at * step[0]
        shown.append(picture[:, top : top + height, left : left + width])
    return torch.stack(shown)


def written(path, frames, rate=25):
    """The path, a file of these frames."""
    with VideoWriter(path, size=tuple(frames.shape[-2:]), frame_rate=Fraction(rate), quality=1) as writer:
        for frame in frames:
            writer.write(frame)
    return path
