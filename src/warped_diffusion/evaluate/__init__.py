"""Evaluation: clips degraded, restored in many ways, and measured, as the paper's tables are."""

from warped_diffusion.evaluate.clips import Clip, Source, open_clips
from warped_diffusion.evaluate.ways import Way

__all__ = ["Clip", "Source", "Way", "open_clips"]
