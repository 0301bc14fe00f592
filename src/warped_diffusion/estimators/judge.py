"""The flow that clips are judged by, on their originals."""

import itertools

import cv2
import numpy as np
import torch
from torch import Tensor

from warped_diffusion.estimators.dis import grey_picture, search
from warped_diffusion.flow import Motion, identity_map, visibility


def fine_flow(earlier: Tensor, later: Tensor) -> tuple[Tensor, Tensor]:
    """The flow that clips are judged by, apart from all that restores: DIS down to single pixels, then smoothed.

    OpenCV's medium preset with its finest scale 0 and 10 iterations of variational refinement, each component under a
    median of 5×5. (earlier, later), (3, H, W) in [0, 1] -> (forward, backward) displacements, (H, W, 2) pixels.
    """
    first, second = grey_picture(earlier), grey_picture(later)
    found = (search(*pair, finest=0, refinements=10) for pair in ((first, second), (second, first)))
    forward, backward = (
        torch.from_numpy(np.stack([cv2.medianBlur(np.ascontiguousarray(flow[..., i]), 5) for i in (0, 1)], -1))
        for flow in found
    )
    return forward, backward


def fine_motion(frames: Tensor) -> Motion:
    """The motion of a clip (N, 3, H, W) by `fine_flow`, seen where there and back again leads home."""
    flows = (torch.stack(fine_flow(*pair)) for pair in itertools.pairwise(frames))
    forward, backward = (torch.stack(list(flows)) + identity_map(*frames.shape[-2:])).unbind(1)
    return Motion(forward, backward, *visibility(forward, backward))
