"""Optical flow by dense inverse search (DIS) in OpenCV: no download, tens of milliseconds a frame."""

import cv2
import numpy as np
import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Rec. 601 weights of red, green and blue."""

SMALLEST = 32
"""Pixels. DIS searches with patches of 8 on a pyramid; a smaller picture is continued by its edge to this size."""


def dis_flow(earlier: Tensor, later: Tensor) -> tuple[Tensor, Tensor]:
    """Displacements between two frames, both ways, by DIS with its medium preset.

    Args:
        earlier, later: (3, H, W) in [0, 1].
    Returns: (forward, backward), each (H, W, 2) float32 pixels, (x, y), on the device of `earlier`: where each pixel of
        the earlier frame went, and where each pixel of the later frame came from.
    """
    pictures = grey_picture(earlier), grey_picture(later)
    height, width = earlier.shape[-2:]
    flows = (search(*pair)[:height, :width] for pair in (pictures, pictures[::-1]))
    forward, backward = (torch.from_numpy(np.ascontiguousarray(flow)).to(earlier.device) for flow in flows)
    return forward, backward


def search(earlier: np.ndarray, later: np.ndarray, finest: int = 1, refinements: int = 5) -> np.ndarray:
    """(H, W, 2) float32 displacements from one grey picture, (H, W) uint8, to another.

    `finest`: where the search ends, on pictures halved so many times, the rest is interpolated; `refinements`:
    variational iterations on each scale.
    """
    height, width = earlier.shape
    below, right = (max(SMALLEST - side, 0) for side in (height, width))
    pictures = (np.pad(picture, ((0, below), (0, right)), mode="edge") for picture in (earlier, later))
    found = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    found.setFinestScale(finest)
    found.setVariationalRefinementIterations(refinements)
    # None: no flow to start from. OpenCV's stubs forget it.
    return found.calc(*pictures, None)[:height, :width]  # type: ignore[call-overload]


def grey_picture(frame: Tensor) -> np.ndarray:
    """(H, W) uint8."""
    luma = torch.einsum("c,chw->hw", frame.new_tensor(LUMA), frame)
    return (luma * 255).round().clamp(0, 255).byte().cpu().numpy()
