"""Between a codec's frames and RGB tensors: the colour matrix, range and depth, both ways, in one place."""

from dataclasses import dataclass

import numpy as np
import torch
from av import VideoFrame
from av.video.format import VideoFormat
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from torch import Tensor

from warped_diffusion.video.orientation import upright

BT709 = 1
"""The code of BT.709 in a stream's tags: matrix, primaries and transfer have the same."""

RGB, UNSPECIFIED, RESERVED = 0, 2, 3
"""Codes in a stream's tags: of the matrix that pictures of red, green and blue have; of a tag that says nothing."""

LIMITED_RANGE, FULL_RANGE = int(ColorRange.MPEG), int(ColorRange.JPEG)
"""Black at 16 and white at 235, as television has it; black at 0 and white at 255."""

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


@dataclass(frozen=True)
class Colors:
    """What numbers in a file mean as colours: codes of ITU-T H.273, and whether black is at 0."""

    matrix: int = BT709
    primaries: int = BT709
    transfer: int = BT709
    full: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> "Colors":
        """The tags of a decoded frame; BT.709, limited range, where it has none or one that is not known here.

        Pictures of red, green and blue have no matrix, and get BT.709's when they are encoded with one.
        """
        matrix = frame.colorspace if frame.colorspace in MATRICES else BT709
        primaries, transfer = (
            BT709 if code in (0, UNSPECIFIED, RESERVED) else int(code)
            for code in (frame.color_primaries, frame.color_trc)
        )
        coded = not frame.format.is_rgb and len(frame.format.components) >= 3
        return cls(int(matrix), primaries, transfer, coded and _full_range(frame))


def depth(pixels: VideoFormat) -> int:
    """Bits of a pixel's component, the most that any has."""
    return max((part.bits for part in pixels.components), default=8)


def has_alpha(pixels: VideoFormat) -> bool:
    return bool(pixels.has_palette or any(part.is_alpha for part in pixels.components))


def to_tensor(frame: VideoFrame) -> Tensor:
    """Decoded frame as RGB: (3, H, W) float32 in [0, 1], upright if the stream says how it was held.

    A stream without a colour tag is taken as players take it: BT.709 from 720p on, BT.601 below.
    """
    deep = depth(frame.format) > 8
    rgb = frame.reformat(
        format="rgb48le" if deep else "rgb24",
        src_colorspace=None if frame.format.is_rgb else _matrix(frame),
        src_color_range=ColorRange.JPEG if _full_range(frame) else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=SCALER,
        threads=1,
    ).to_ndarray()
    picture = upright(rgb, frame).transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(picture, np.float32)) / (65535 if deep else 255)


def to_alpha(frame: VideoFrame) -> Tensor | None:
    """Opacity of a decoded frame: (1, H, W) float32 in [0, 1], upright; None if its format has no alpha channel."""
    if not has_alpha(frame.format):
        return None
    deep = depth(frame.format) > 8
    rgba = frame.reformat(format="rgba64le" if deep else "rgba", threads=1).to_ndarray()
    alpha = upright(rgba[..., 3], frame)
    return torch.from_numpy(np.ascontiguousarray(alpha, np.float32))[None] / (65535 if deep else 255)


def to_opacity(frame: VideoFrame) -> Tensor:
    """As `to_alpha`, 1 everywhere in a frame that has no alpha channel."""
    alpha = to_alpha(frame)
    return to_tensor(frame)[:1] * 0 + 1 if alpha is None else alpha


def to_frame(picture: Tensor, pixel_format: str, colors: Colors | None = None) -> VideoFrame:
    """RGB (3, H, W) in [0, 1], or RGB and opacity (4, H, W), as a frame to encode; values beyond are clipped.

    Args:
        colors: how to write it, BT.709 in limited range by default; of a format of red, green and blue its primaries
            and its transfer alone.
    """
    colors = colors or Colors()
    pixels = VideoFormat(pixel_format, picture.shape[-1], picture.shape[-2])
    frame = VideoFrame.from_ndarray(_levels(picture, pixels), format=_packed(pixels, len(picture)))
    frame.color_range = FULL_RANGE
    full = colors.full or pixels.is_rgb
    frame = frame.reformat(
        format=pixel_format,
        dst_colorspace=None if pixels.is_rgb else MATRICES[colors.matrix],
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        interpolation=SCALER,
        threads=1,
    )
    frame.color_range = FULL_RANGE if full else LIMITED_RANGE
    frame.colorspace = RGB if pixels.is_rgb else colors.matrix
    frame.color_primaries, frame.color_trc = colors.primaries, colors.transfer
    return frame


def _levels(picture: Tensor, pixels: VideoFormat) -> np.ndarray:
    """(H, W, 3 or 4) whole numbers of 8 or 16 bits.

    The scaler cuts off the bits that it does not want: pictures of red, green and blue are rounded to theirs before.
    """
    bits, values = depth(pixels), picture.detach().cpu().clamp(0, 1).permute(1, 2, 0)
    if bits <= 8:
        return np.ascontiguousarray((values * 255).round().to(torch.uint8).numpy())
    if pixels.is_rgb and bits < 16:
        levels = (values * (2**bits - 1)).round().to(torch.int32)
        levels = levels << (16 - bits) | levels >> (2 * bits - 16)
    else:
        levels = (values * 65535).round().to(torch.int32)
    return np.ascontiguousarray(levels.numpy().astype(np.uint16))


def _packed(pixels: VideoFormat, channels: int) -> str:
    """The name of what `_levels` returns."""
    name = "rgb" if channels == 3 else "rgba"
    return {"rgb": "rgb24", "rgba": "rgba"}[name] if depth(pixels) <= 8 else f"{name}{16 * channels}le"


def _matrix(frame: VideoFrame) -> Colorspace:
    large = frame.width >= 1280 or frame.height > 576
    return MATRICES.get(frame.colorspace, Colorspace.ITU709 if large else Colorspace.ITU601)


def _full_range(frame: VideoFrame) -> bool:
    return frame.color_range == ColorRange.JPEG or frame.format.is_rgb or frame.format.name.startswith("yuvj")
