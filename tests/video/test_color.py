"""Colours against the equations of BT.709 and BT.601, and through a file and back."""

import av
import numpy as np
import pytest
import torch

from tests.video.clips import pictures
from warped_diffusion.video import VideoReader, VideoWriter
from warped_diffusion.video.color import to_frame, to_tensor

KR_KB = {"709": (0.2126, 0.0722), "601": (0.299, 0.114)}
LEVEL = 1 / 255
ROUND_TRIP = 3 * LEVEL  # three planes rounded to 8 bits, of which only 219 and 224 levels are used
PRIMARIES = torch.tensor([[r, g, b] for r in (0.0, 1.0) for g in (0.0, 1.0) for b in (0.0, 1.0)])


def to_yuv(color: torch.Tensor, matrix: str, full: bool = False) -> torch.Tensor:
    """(3,) RGB in [0, 1] to 8-bit Y, Cb, Cr.   [ITU-R BT.709, 3.2 to 3.5; BT.601 alike]"""
    kr, kb = KR_KB[matrix]
    y = kr * color[0] + (1 - kr - kb) * color[1] + kb * color[2]
    chroma = torch.stack([(color[2] - y) / (2 - 2 * kb), (color[0] - y) / (2 - 2 * kr)])
    luma_scale, chroma_scale, black = (255, 255, 0) if full else (219, 224, 16)
    return torch.cat([black + luma_scale * y[None], 128 + chroma_scale * chroma])


def patch(values: torch.Tensor, size: tuple[int, int], matrix_code: int, full: bool) -> av.VideoFrame:
    """A flat 4:4:4 frame of the given Y, Cb, Cr."""
    planes = values.round().clamp(0, 255).to(torch.uint8)[:, None, None].expand(3, *size).contiguous().numpy()
    frame = av.VideoFrame.from_ndarray(planes, format="yuv444p")
    frame.colorspace, frame.color_range = matrix_code, 2 if full else 1
    return frame


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p"])
def test_frames_to_encode_follow_the_equation(pixel_format):
    generator = torch.Generator().manual_seed(0)
    for color in torch.cat([PRIMARIES, torch.rand(16, 3, generator=generator)]):
        frame = to_frame(color[:, None, None].expand(3, 16, 24), pixel_format)
        assert (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc) == (1, 1, 1, 1)
        levels = torch.tensor([np.frombuffer(plane, np.uint8)[0] for plane in frame.planes])
        assert (levels - to_yuv(color, "709")).abs().max() <= 1.1  # rounded to whole levels, with fixed-point factors


@pytest.mark.parametrize(
    ("code", "size", "matrix", "full"),
    [
        (1, (32, 48), "709", False),
        (6, (32, 48), "601", False),
        (5, (32, 48), "601", False),
        (1, (32, 48), "709", True),
        (2, (32, 48), "601", False),  # untagged: small pictures are taken as BT.601,
        (2, (600, 64), "709", False),  # tall
        (2, (32, 1280), "709", False),  # and wide ones as BT.709
    ],
)
def test_decoded_frames_follow_their_tag(code, size, matrix, full):
    generator = torch.Generator().manual_seed(1)
    for color in torch.cat([PRIMARIES, torch.rand(8, 3, generator=generator)]):
        picture = to_tensor(patch(to_yuv(color, matrix, full), size, code, full))
        assert picture.shape == (3, *size)
        assert (picture - color[:, None, None]).abs().max() <= ROUND_TRIP


@pytest.mark.parametrize("size", [(64, 96), (63, 95)])
def test_colour_patches_come_back_from_a_file(tmp_path, size):
    generator = torch.Generator().manual_seed(2)
    colors = torch.cat([PRIMARIES, torch.rand(8, 3, generator=generator)])
    with VideoWriter(tmp_path / "colors.mp4", frame_rate=25, size=size) as writer:
        for color in colors:
            writer.write(color[:, None, None].expand(3, *size))
    with VideoReader(tmp_path / "colors.mp4") as reader:
        for color, frame in zip(colors, reader, strict=True):
            assert (frame - color[:, None, None]).abs().max() <= ROUND_TRIP


def test_chroma_comes_back_where_it_was(tmp_path):
    """A colour that changes smoothly: chroma read half a pixel beside where it was written is off by 3 levels."""
    generator = torch.Generator().manual_seed(3)
    picture = torch.nn.functional.interpolate(
        0.1 + 0.8 * torch.rand(1, 3, 6, 9, generator=generator), size=(64, 96), mode="bicubic"
    )[0].clamp(0, 1)
    with VideoWriter(tmp_path / "smooth.mp4", frame_rate=25, size=(64, 96), quality=0) as writer:
        writer.write(picture)
    with VideoReader(tmp_path / "smooth.mp4") as reader:
        assert (next(reader) - picture).abs().mean() <= LEVEL


def test_many_generations_do_not_darken():
    picture = frame = pictures(1, (64, 96))[0] * torch.tensor([1.0, 0.8, 0.6])[:, None, None]
    for _ in range(8):
        frame = to_tensor(to_frame(frame, "yuv420p"))
    assert (frame - picture).mean().abs() <= 0.2 * LEVEL
