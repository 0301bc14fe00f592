r"""Optical flow from small, compressed pictures: DIS at two resolutions, fused, then refined both ways together.

DIS alone [Kroeger et al. 2016] follows what is fast but is rough where motion is a fraction of a pixel, and a picture
enlarged from few pixels has little else. So, in this order:

- two searches, on the pictures and on their halves; per pixel the one along which the pictures agree better;
- six rounds, each a variational refinement [Brox et al. 2004] on softly blurred pictures, then the two directions
  brought together where they nearly agree, then a smoothing that keeps to edges of the picture and counts each pixel
  by its confidence: the agreement of the two directions and of the pictures along the flow.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from warped_diffusion.estimators.dis import LUMA, SMALLEST, grey_picture, search

ROUNDS = 6
"""Each costs a quarter of the searches; twice as many gained 2 % more."""

SOFT = 0.7
"""Standard deviation of the blur under which pictures are compared by the refinement, pixels: noise is no motion."""

CLEARLY = 0.002
"""By how much the pictures must agree better along the second search for it to be taken, in units of [0, 1]."""

WORST = 0.12
"""A difference that says no more than that something is hidden."""

BEYOND = 0.06
"""The difference that a place beyond the frame stands for."""

NEAR, FAR_OFF = 0.3, 0.4
"""Pixels, at rest: disagreement of the two directions that is divided between them, and that costs confidence."""

PHOTOMETRIC = 0.05
"""Standard deviation of the pictures' difference along flow that can be trusted."""

REACH, SPREAD, CONTRAST = 2, 1.5, 0.04
"""Of the smoothing: radius, standard deviation in pixels, and in differences of colour."""

OFFSETS = tuple((dy, dx) for dy in range(2 * REACH + 1) for dx in range(2 * REACH + 1))


def refined_flow(earlier: Tensor, later: Tensor) -> tuple[Tensor, Tensor]:
    """Displacements between two frames, both ways, as `dis_flow` gives them: a few times its cost.

    Args:
        earlier, later: (3, H, W) in [0, 1].
    Returns: (forward, backward), each (H, W, 2) float32 pixels, (x, y), on the device of `earlier`.
    """
    height, width = earlier.shape[-2:]
    pad = (0, max(SMALLEST - width, 0), 0, max(SMALLEST - height, 0))
    frames = [F.pad(frame[None].float().cpu(), pad, mode="replicate")[0] for frame in (earlier, later)]
    a, b = (np.ascontiguousarray(frame.permute(1, 2, 0).numpy()) for frame in frames)
    grey_a, grey_b = map(grey_picture, frames)
    soft_a, soft_b = _softened(a), _softened(b)
    near_a, near_b = _neighbours(a), _neighbours(b)  # of use in every round
    forward, backward = _found(grey_a, grey_b, a, b), _found(grey_b, grey_a, b, a)
    for turn in range(ROUNDS):
        forward, backward = _descended(soft_a, soft_b, forward), _descended(soft_b, soft_a, backward)
        forward, backward = _reconciled(forward, backward), _reconciled(backward, forward)
        if turn < ROUNDS - 1:
            trust = _confidence(forward, backward, a, b), _confidence(backward, forward, b, a)
            forward, backward = _smoothed(forward, near_a, trust[0]), _smoothed(backward, near_b, trust[1])
    flows = (np.ascontiguousarray(flow[:height, :width]) for flow in (forward, backward))
    first, second = (torch.from_numpy(flow).to(earlier.device) for flow in flows)
    return first, second


def _softened(colours: np.ndarray) -> np.ndarray:
    """(H, W) float32 grey in [0, 255]; not in whole numbers, as motion may be a hundredth of a pixel."""
    grey = 255 * (colours @ np.array(LUMA, np.float32))
    return cv2.GaussianBlur(grey, (0, 0), SOFT, borderType=cv2.BORDER_REPLICATE)


def _found(earlier: np.ndarray, later: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(H, W, 2): of the flows found on the grey pictures and on their halves, the better one at each pixel."""
    height, width = earlier.shape
    size = (-(-width // 2), -(-height // 2))
    half_a, half_b = (cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in (earlier, later))
    flow = search(earlier, later, finest=0)
    coarse = cv2.resize(search(half_a, half_b, finest=0), (width, height), interpolation=cv2.INTER_LINEAR)
    coarse *= np.array([width / size[0], height / size[1]], np.float32)
    better = _mismatch(coarse, a, b) < _mismatch(flow, a, b) - CLEARLY
    return np.where(better[..., None], coarse, flow)


def _mismatch(flow: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(H, W): mean absolute difference of the pictures along the flow, averaged over 5 x 5 pixels."""
    x, y = _targets(flow)
    height, width = x.shape
    difference = np.minimum(_summed(np.abs(_read(b, x, y) - a)) / 3, WORST)
    outside = (x < -0.5) | (y < -0.5) | (x > width - 0.5) | (y > height - 0.5)
    return cv2.blur(np.where(outside, BEYOND, difference), (5, 5))


def _descended(a: np.ndarray, b: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """A few iterations of the variational refinement, and a median of 3 x 3."""
    refinement = cv2.VariationalRefinement.create()
    flow = refinement.calc(a, b, flow.copy())
    return cv2.merge([cv2.medianBlur(np.ascontiguousarray(flow[..., axis]), 3) for axis in (0, 1)])


def _reconciled(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """The flow less half of what it and the way back disagree by, where that is little."""
    gap = flow + _read(back, *_targets(flow))
    allowed = NEAR**2 + 0.02 * _summed(np.square(flow))
    share = 0.5 * np.exp(-_summed(np.square(gap)) / allowed)
    return flow - share[..., None] * gap


def _confidence(flow: np.ndarray, back: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(H, W) above 0: how far there and back again leads home, and the pictures are alike at both ends."""
    x, y = _targets(flow)
    height, width = x.shape
    gap = flow + _read(back, x, y)
    trust = np.exp(-_summed(np.square(gap)) / (FAR_OFF**2 + 0.05 * _summed(np.square(flow))))
    difference = cv2.blur(_summed(np.square(_read(b, x, y) - a)), (3, 3))
    trust *= np.exp(-difference / (3 * PHOTOMETRIC**2))
    trust *= (x > -0.5) & (y > -0.5) & (x < width - 0.5) & (y < height - 0.5)
    return trust + 1e-3


def _neighbours(picture: np.ndarray) -> np.ndarray:
    """(25, H, W): how much each pixel's neighbours count in its bilateral mean, by the picture's own edges."""
    height, width = picture.shape[:2]
    colours = _bordered(picture)
    squares = []
    for dy, dx in OFFSETS:
        squares.append(_summed(np.square(colours[dy : dy + height, dx : dx + width] - picture)))
    away = np.array([(dy - REACH) ** 2 + (dx - REACH) ** 2 for dy, dx in OFFSETS], np.float32)[:, None, None]
    return np.exp(-np.stack(squares) / (2 * 3 * CONTRAST**2) - away / (2 * SPREAD**2))


def _smoothed(flow: np.ndarray, neighbours: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """A bilateral mean along a picture's edges, weighted by `trust`; `neighbours` are those of the picture."""
    height, width = flow.shape[:2]
    planes = np.stack([flow[..., 0] * trust, flow[..., 1] * trust, trust]).astype(np.float32)
    values = np.stack([_bordered(plane) for plane in planes])
    total = np.zeros_like(planes)
    for (dy, dx), weight in zip(OFFSETS, neighbours, strict=True):
        total += weight * values[:, dy : dy + height, dx : dx + width]
    return np.stack([total[0] / total[2], total[1] / total[2]], axis=-1)


def _bordered(image: np.ndarray) -> np.ndarray:
    return cv2.copyMakeBorder(image, REACH, REACH, REACH, REACH, cv2.BORDER_REPLICATE)


def _summed(image: np.ndarray) -> np.ndarray:
    """(H, W, C) -> (H, W): plane by plane, many times as fast as a sum over so short an axis."""
    return sum(image[..., channel] for channel in range(1, image.shape[-1])) + image[..., 0]


def _targets(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows, (H, W) float32 each, that the flow leads to."""
    rows, columns = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return columns + flow[..., 0], rows + flow[..., 1]


def _read(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
