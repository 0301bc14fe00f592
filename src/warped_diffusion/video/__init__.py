"""Video files in and out through PyAV, as streams of frames (3, H, W) in [0, 1], and masks in; frames side by side."""

from warped_diffusion.video.masks import AlphaChannel, MaskFile, picture_files
from warped_diffusion.video.reader import VideoReader
from warped_diffusion.video.sheet import film_strip, side_by_side, write_picture
from warped_diffusion.video.writer import VideoWriter

__all__ = [
    "AlphaChannel",
    "MaskFile",
    "VideoReader",
    "VideoWriter",
    "film_strip",
    "picture_files",
    "side_by_side",
    "write_picture",
]
