"""Videos and sequences of pictures in and out through PyAV, as streams of frames in [0, 1]; masks in; film strips."""

from warped_diffusion.video.behind import Behind
from warped_diffusion.video.color import to_opacity
from warped_diffusion.video.encoding import CODECS, VISUALLY_LOSSLESS
from warped_diffusion.video.limits import USUAL, Limits
from warped_diffusion.video.masks import AlphaChannel, MaskFile
from warped_diffusion.video.output import open_output
from warped_diffusion.video.picture_writer import PictureWriter
from warped_diffusion.video.reader import VideoReader
from warped_diffusion.video.sequence import picture_files
from warped_diffusion.video.sheet import film_strip, side_by_side, write_picture
from warped_diffusion.video.writer import VideoWriter

__all__ = [
    "CODECS",
    "USUAL",
    "VISUALLY_LOSSLESS",
    "AlphaChannel",
    "Behind",
    "Limits",
    "MaskFile",
    "PictureWriter",
    "VideoReader",
    "VideoWriter",
    "film_strip",
    "open_output",
    "picture_files",
    "side_by_side",
    "to_opacity",
    "write_picture",
]
