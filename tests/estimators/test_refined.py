"""The refined estimator's smoothing against the formula it stands for, pixel by pixel."""

import math

import numpy as np

from warped_diffusion.estimators import refined
from warped_diffusion.estimators.refined import CONTRAST, REACH, SPREAD

ROUNDING = 1e-5
"""Relative: sums of 25 terms in float32, in another order."""


def literal(flow: np.ndarray, picture: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """The bilateral mean as it is defined, in double precision; beyond the frame its nearest edge pixel."""
    height, width = trust.shape
    smoothed = np.zeros(flow.shape)
    for y, x in np.ndindex(height, width):
        total = np.zeros(3)
        for dy in range(-REACH, REACH + 1):
            for dx in range(-REACH, REACH + 1):
                there = min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)
                apart = float(np.square(picture[there].astype(float) - picture[y, x]).mean())
                weight = math.exp(-apart / (2 * CONTRAST**2) - (dy**2 + dx**2) / (2 * SPREAD**2)) * trust[there]
                total += weight * np.array([*flow[there], 1.0])
        smoothed[y, x] = total[:2] / total[2]
    return smoothed


def test_smoothing_is_the_bilateral_mean() -> None:
    random = np.random.default_rng(0)
    flow = random.normal(size=(7, 9, 2)).astype(np.float32)
    picture = (0.1 * random.random((7, 9, 3))).astype(np.float32)
    trust = random.random((7, 9)).astype(np.float32) + 1e-3
    found = refined._smoothed(flow, refined._neighbours(picture), trust)
    np.testing.assert_allclose(found, literal(flow, picture, trust), rtol=ROUNDING, atol=ROUNDING)


def test_planes_are_summed_as_the_last_axis_is() -> None:
    image = np.random.default_rng(1).random((4, 5, 3), dtype=np.float32)
    np.testing.assert_allclose(refined._summed(image), image.sum(-1), rtol=ROUNDING)
