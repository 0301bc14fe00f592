"""The paper's tables and figures for any model: clips restored in every way, measured, tabled and shown."""

from warped_diffusion.evaluate.clips import Clip, Source, open_clips
from warped_diffusion.evaluate.measures import MEASURES, Context, FrameMeasure, Measure, SetMeasure
from warped_diffusion.evaluate.ways import Way

__all__ = [
    "MEASURES",
    "Clip",
    "Context",
    "FrameMeasure",
    "Measure",
    "SetMeasure",
    "Source",
    "Way",
    "open_clips",
]
