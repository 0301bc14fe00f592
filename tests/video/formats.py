"""Clips of many formats for the tests, made with PyAV: a moving picture, a sound that can be recognised, and marks."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from tests.video.clips import pictures
from warped_diffusion.video.writer import FRAME_DURATION

SIZE = (64, 96)
RATE = 25
LAST = Fraction(1, RATE)
"""How long the last frame is shown, seconds."""
STEADY = tuple(Fraction(k, RATE) for k in range(12))
UNEVEN = tuple(Fraction(t, 1000) for t in (0, 40, 120, 160, 320, 340, 480, 520, 600, 720, 760, 800))


@dataclass(frozen=True)
class Format:
    """A kind of clip: its ending, the encoder and pixel format of its pictures, the encoder of its sound."""

    ending: str
    codec: str
    pixels: str
    sound: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    times: tuple[Fraction, ...] = STEADY
    rotation: int = 0
    flip: bool = False
    aspect: Fraction = Fraction(1)
    colors: tuple[int, int, int, int] = (2, 2, 2, 0)
    """Matrix, primaries, transfer and range: the codes of ITU-T H.273, and 1 for limited and 2 for full range."""
    metadata: dict[str, str] = field(default_factory=dict)
    subtitles: str | None = None
    """In the format of SubRip; a text file is then attached as well."""
    chapters: tuple[str, ...] = ()
    """Their titles; each is 0.4 s long."""


FORMATS = {
    "mp4, h264": Format(".mp4", "libx264", "yuv420p", "aac", {"crf": "4", "bf": "2"}, metadata={"title": "A title"}),
    "mp4, h264, BT.601": Format(".mp4", "libx264", "yuv420p", "aac", {"crf": "4"}, colors=(6, 6, 6, 1)),
    "mp4, h264, full range": Format(".mp4", "libx264", "yuvj420p", "aac", {"crf": "4"}, colors=(1, 1, 1, 2)),
    "mkv, hevc of 10 bits": Format(
        ".mkv", "libx265", "yuv420p10le", "flac", {"x265-params": "log-level=none:crf=4"}, colors=(9, 9, 16, 1)
    ),
    "webm, vp9": Format(".webm", "libvpx-vp9", "yuv420p", "libopus", {"crf": "10", "b": "0", "cpu-used": "8"}),
    "avi, mjpeg": Format(".avi", "mjpeg", "yuvj420p", "pcm_s16le"),
    "gif": Format(".gif", "gif", "rgb8"),
    "mov, turned": Format(".mov", "libx264", "yuv420p", "pcm_s16le", {"crf": "4"}, rotation=90, aspect=Fraction(4, 3)),
    "mp4, mirrored": Format(".mp4", "libx264", "yuv420p", options={"crf": "4"}, rotation=90, flip=True),
    "mp4, variable rate": Format(".mp4", "libx264", "yuv420p", "aac", {"crf": "4", "bf": "2"}, times=UNEVEN),
    "mkv, variable rate": Format(".mkv", "libx264", "yuv420p", "libmp3lame", {"crf": "4"}, times=UNEVEN),
    "ts, interlaced": Format(".ts", "mpeg2video", "yuv420p", "mp2", {"flags": "+ildct+ilme", "qscale": "2", "b": "8M"}),
    "mp4, interlaced": Format(".mp4", "libx264", "yuv420p", "aac", {"crf": "4", "x264-params": "tff=1"}),
}


def make(folder: Path, kind: Format, size: tuple[int, int] = SIZE) -> Path:
    """A clip of that kind in `folder`, as many frames as it has times, with a sound as long if it has one."""
    path = folder / f"in{kind.ending}"
    with av.open(path, "w") as container:
        container.metadata.update(kind.metadata)
        stream = container.add_stream(kind.codec, rate=RATE, options=kind.options)
        context = stream.codec_context
        stream.height, stream.width, stream.pix_fmt = *size, kind.pixels
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = kind.colors
        context.sample_aspect_ratio = kind.aspect
        if kind.times is not STEADY:
            context.time_base = Fraction(1, 1000)
            context.flags |= FRAME_DURATION
        if kind.rotation:
            stream.set_display_rotation(kind.rotation, hflip=kind.flip)
        tone = container.add_stream(kind.sound, rate=48_000, layout="stereo") if kind.sound else None
        if tone is not None:
            tone.metadata["language"] = "eng"
        base = context.time_base if kind.times is not STEADY else Fraction(1, RATE)
        ends = [*kind.times[1:], kind.times[-1] + LAST]
        lines = _add_subtitles(container, kind.subtitles, folder) if kind.subtitles else []
        container.set_chapters(
            [
                {
                    "id": j,
                    "start": 4 * j,
                    "end": 4 * (j + 1),
                    "time_base": Fraction(1, 10),
                    "metadata": {"title": title},
                }
                for j, title in enumerate(kind.chapters)
            ]
        )
        container.mux(lines)
        for time, end, picture in zip(kind.times, ends, pictures(len(kind.times), size), strict=True):
            frame = encoded(picture, kind)
            frame.pts, frame.duration, frame.time_base = round(time / base), round((end - time) / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if tone is not None:
            _add_sound(container, tone, kind.times[-1] + LAST)
    return path


def encoded(picture: Tensor, kind: Format) -> av.VideoFrame:
    levels = (picture * 65535).round().to(torch.int32).permute(1, 2, 0).numpy().astype(np.uint16)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(levels), format="rgb48le")
    frame.color_range = 2
    if kind.pixels.startswith("rgb"):
        return frame.reformat(format=kind.pixels)
    matrix = {6: 5, 9: 9}.get(kind.colors[0], 5 if kind.colors[0] == 2 else 1)
    full = kind.colors[3] == 2 or kind.pixels.startswith("yuvj")
    frame = frame.reformat(format=kind.pixels, dst_colorspace=matrix, src_color_range=2, dst_color_range=1 + full)
    frame.colorspace, frame.color_primaries, frame.color_trc = kind.colors[:3]
    frame.color_range = 2 if full else kind.colors[3]
    return frame


def _add_subtitles(container, text: str, folder: Path) -> list[av.Packet]:
    """German ones; the packets are returned."""
    container.add_attachment("note.txt", "text/plain", b"attached")
    (folder / "lines.srt").write_text(text)
    with av.open(folder / "lines.srt") as lines:
        stream = container.add_stream_from_template(lines.streams[0])
        stream.metadata["language"] = "deu"
        packets = [packet for packet in lines.demux() if packet.size]
    for packet in packets:
        packet.stream = stream
    return packets


def _add_sound(container, stream, seconds: Fraction) -> None:
    count = round(seconds * 48_000)
    phase = np.cumsum(np.linspace(300, 3000, count)) * 2 * np.pi / 48_000
    wave = (0.4 * np.stack([np.sin(phase), np.cos(phase)])).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
    for piece in av.AudioResampler(format=stream.codec_context.format, layout="stereo", rate=48_000).resample(frame):
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))
