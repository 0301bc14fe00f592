"""Optical flow, the motion of a clip, of what surrounds its holes, and of an object in it; scene cuts."""

from warped_diffusion.estimators.around import estimate_around
from warped_diffusion.estimators.cuts import CutDetector
from warped_diffusion.estimators.estimate import estimate_motion, estimate_pair
from warped_diffusion.estimators.judge import fine_flow, fine_motion
from warped_diffusion.estimators.registry import ESTIMATORS, Estimator, get_estimator
from warped_diffusion.estimators.tracking import Tracker, track_mask

__all__ = [
    "ESTIMATORS",
    "CutDetector",
    "Estimator",
    "Tracker",
    "estimate_around",
    "estimate_motion",
    "estimate_pair",
    "fine_flow",
    "fine_motion",
    "get_estimator",
    "track_mask",
]
