"""Codecs and qualities: lossless comes back bit for bit, what looks so is near, the impossible is refused."""

import av
import pytest
import torch

from tests.video.clips import pictures
from warped_diffusion.errors import UserError
from warped_diffusion.metrics import psnr
from warped_diffusion.video import VideoReader, VideoWriter
from warped_diffusion.video.writer import time_short

NEAR = 40.0  # dB, on a smooth picture; the usual h264 has 42


def through(path, frames, **options):
    with VideoWriter(path, frame_rate=25, size=tuple(frames.shape[-2:]), **options) as writer:
        for frame in frames:
            writer.write(frame)
    with VideoReader(path) as reader:
        return torch.stack(list(reader))


@pytest.mark.parametrize("size", [(64, 96), (63, 95)])
@pytest.mark.parametrize(
    ("codec", "ending"),
    [
        *(("h264", ending) for ending in ("mp4", "mkv", "mov", "ts")),
        *(("hevc", ending) for ending in ("mp4", "mkv", "mov", "ts")),
        *(("vp9", ending) for ending in ("webm", "mkv", "mp4")),
        *(("prores", ending) for ending in ("mov", "mkv")),
    ],
)
def test_visually_lossless_is_near(tmp_path, codec, ending, size):
    frames = pictures(3, size) * torch.tensor([1.0, 0.9, 0.8])[:, None, None]
    assert psnr(through(tmp_path / f"clip.{ending}", frames, codec=codec), frames).min() > NEAR


def test_packets_of_a_short_clip_get_times_to_be_decoded_at():
    packets = [av.Packet(b"x") for _ in range(4)]
    for packet, pts, dts in zip(packets, (0, 30, 10, 20), (2**60, -5, 7, 8), strict=True):
        packet.pts, packet.dts = pts, dts
    time_short(packets)
    assert [packet.dts for packet in packets] == [-10, 0, 10, 20]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_clips_shorter_than_the_encoder_looks_ahead(tmp_path, count):
    frames = pictures(count, (64, 96))
    for ending in ("mp4", "mkv"):
        assert len(through(tmp_path / f"clip.{ending}", frames, codec="hevc")) == count


@pytest.mark.parametrize("size", [(64, 96), (63, 95)])
@pytest.mark.parametrize(("codec", "ending"), [("h264", "mp4"), ("hevc", "mkv"), ("vp9", "webm"), ("ffv1", "mkv")])
def test_lossless_comes_back_bit_for_bit(tmp_path, codec, ending, size):
    frames = (torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0)) * 255).round() / 255
    assert torch.equal(through(tmp_path / f"clip.{ending}", frames, codec=codec, quality="lossless"), frames)


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "prores"])
def test_a_number_is_the_codecs_own(tmp_path, codec):
    frames = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    ending = "mov" if codec == "prores" else "mkv"
    sizes = []
    for number in (8, 20):
        path = tmp_path / f"{number}.{ending}"
        through(path, frames, codec=codec, quality=number)
        sizes.append(path.stat().st_size)
    assert sizes[0] > 1.2 * sizes[1]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("a.mp4", {"codec": "av2"}, "no codec 'av2': give one of h264"),
        ("a.mp4", {"codec": "ffv1"}, "cannot hold ffv1: let its name end in .mkv"),
        ("a.webm", {"codec": "h264"}, "cannot hold h264"),
        ("a.mov", {"codec": "prores", "quality": "lossless"}, "always loses something"),
        ("a.mkv", {"codec": "ffv1", "quality": 12}, "leave --quality out"),
        ("a.mp4", {"quality": 60}, "from 0, the best, to 51, got 60"),
        ("a.mp4", {"quality": "good"}, "got 'good'"),
        ("a.avi", {}, "should end in one of .mp4"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, name, options, words):
    with pytest.raises(UserError, match=words):
        through(tmp_path / name, pictures(1), **options)
    assert not list(tmp_path.iterdir())
