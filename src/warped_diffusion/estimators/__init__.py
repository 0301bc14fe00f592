"""Estimators of optical flow, and the motion of a clip from them."""

from warped_diffusion.estimators.estimate import estimate_motion, estimate_pair
from warped_diffusion.estimators.registry import ESTIMATORS, Estimator, get_estimator

__all__ = ["ESTIMATORS", "Estimator", "estimate_motion", "estimate_pair", "get_estimator"]
