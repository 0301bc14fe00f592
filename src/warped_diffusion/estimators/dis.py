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
    first, second = _grey(earlier), _grey(later)
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    height, width = earlier.shape[-2:]
    # None: no flow to start from. OpenCV's stubs forget it.
    flows = (search.calc(*pair, None)[:height, :width] for pair in ((first, second), (second, first)))  # type: ignore[call-overload]
    forward, backward = (torch.from_numpy(np.ascontiguousarray(flow)).to(earlier.device) for flow in flows)
    return forward, backward


def _grey(frame: Tensor) -> np.ndarray:
    """(H, W) uint8, no side under `SMALLEST`."""
    luma = torch.einsum("c,chw->hw", frame.new_tensor(LUMA), frame)
    grey = (luma * 255).round().clamp(0, 255).byte().cpu().numpy()
    below, right = (max(SMALLEST - side, 0) for side in grey.shape)
    return np.pad(grey, ((0, below), (0, right)), mode="edge")
