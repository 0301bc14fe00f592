"""Between a codec's frames and RGB tensors: the colour matrix and range, both ways, in one place."""

import numpy as np
import torch
from av import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from torch import Tensor

BT709 = 1
"""The code of BT.709 in a stream's tags: matrix, primaries and transfer have the same."""

LIMITED_RANGE = int(ColorRange.MPEG)
"""Black at 16 and white at 235, as television has it."""

SCALER = int(Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND)
"""Without full chroma interpolation swscale darkens a textured 4:2:0 picture by 1.2/255 on average, each time anew."""

CHROMA_SITE = "center"
"""Where `to_frame` takes 4:2:0 chroma, amid four pixels; H.264 puts it half a pixel to the left unless told this."""

MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
"""From the matrix code in the stream (ITU-T H.273, table 4) to the scaler's."""


def to_tensor(frame: VideoFrame) -> Tensor:
    """Decoded frame as RGB: (3, H, W) float32 in [0, 1], upright if the stream says how it was held.

    A stream without a colour tag is taken as players take it: BT.709 from 720p on, BT.601 below.
    """
    rgb = frame.reformat(
        format="rgb24",
        src_colorspace=None if frame.format.is_rgb else _matrix(frame),
        src_color_range=ColorRange.JPEG if _full_range(frame) else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=SCALER,
        threads=1,
    ).to_ndarray()
    upright = np.rot90(rgb, round(frame.rotation / 90))
    return torch.from_numpy(np.ascontiguousarray(upright.transpose(2, 0, 1))).float() / 255


def to_alpha(frame: VideoFrame) -> Tensor | None:
    """Opacity of a decoded frame: (1, H, W) float32 in [0, 1], upright; None if its format has no alpha channel."""
    if not frame.format.has_palette and not any(part.is_alpha for part in frame.format.components):
        return None
    rgba = frame.reformat(format="rgba", threads=1).to_ndarray()
    upright = np.rot90(rgba[..., 3], round(frame.rotation / 90))
    return torch.from_numpy(np.ascontiguousarray(upright)).float()[None] / 255


def to_frame(picture: Tensor, pixel_format: str) -> VideoFrame:
    """RGB (3, H, W) in [0, 1] as a frame to encode: BT.709, limited range; values beyond are clipped."""
    levels = (picture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(levels.permute(1, 2, 0).numpy()), format="rgb24")
    frame.color_range = ColorRange.JPEG
    frame = frame.reformat(
        format=pixel_format,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=SCALER,
        threads=1,
    )
    frame.color_range = LIMITED_RANGE
    frame.colorspace = frame.color_primaries = frame.color_trc = BT709
    return frame


def _matrix(frame: VideoFrame) -> Colorspace:
    large = frame.width >= 1280 or frame.height > 576
    return MATRICES.get(frame.colorspace, Colorspace.ITU709 if large else Colorspace.ITU601)


def _full_range(frame: VideoFrame) -> bool:
    return frame.color_range == ColorRange.JPEG or frame.format.is_rgb or frame.format.name.startswith("yuvj")
