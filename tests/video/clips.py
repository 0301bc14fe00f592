"""Clips for the tests, made with PyAV alone, and their packets."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor


def pictures(count: int, size: tuple[int, int] = (36, 48), seed: int = 0) -> Tensor:
    """(count, 3, H, W) in [0, 1]: a smooth pattern, grey enough that 4:2:0 keeps it, that moves a pixel a frame."""
    generator = torch.Generator().manual_seed(seed)
    coarse = 0.2 + 0.6 * torch.rand(1, 1, 5, 12, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=(size[0], size[1] + count), mode="bicubic")[0].clamp(0, 1)
    return torch.stack([fine[:, :, j : j + size[1]].expand(3, -1, -1) for j in range(count)])


def make_clip(
    path: Path,
    frames: Tensor,
    rate: Fraction | int = 25,
    sound: str | None = None,
    times: Sequence[Fraction] | None = None,
    sound_delay: int = 0,
    rotation: int = 0,
    aspect: Fraction | None = None,
    codec: str = "libx264",
) -> Path:
    """Write frames (N, 3, H, W), by x264 losslessly; `times`: seconds, if not even; `sound`: a codec, at 48 kHz."""
    with av.open(path, "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream(codec, rate=rate, options={"crf": "0", "bf": "2"} if codec == "libx264" else {})
        stream.height, stream.width = frames.shape[-2:]
        stream.pix_fmt = "yuvj444p" if codec == "mjpeg" else "yuv444p"
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 90_000)
        tone = container.add_stream(sound, rate=48_000, layout="stereo") if sound else None
        for j, frame in enumerate(frames):
            levels = (frame * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
            picture = av.VideoFrame.from_ndarray(levels, format="rgb24")
            picture.time_base = Fraction(1, 90_000)
            picture.pts = round((times[j] if times is not None else j / Fraction(rate)) * 90_000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if tone is not None:
            _add_tone(container, tone, len(frames) / Fraction(rate), sound_delay)
    return path


def _add_tone(container, stream, seconds: Fraction, delay: int) -> None:
    count = round(seconds * 48_000)
    wave = np.random.default_rng(0).normal(0, 0.1, (2, count)).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = 48_000, delay, Fraction(1, 48_000)
    for piece in av.AudioResampler(format=stream.codec_context.format, layout="stereo", rate=48_000).resample(frame):
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))


def sound_packets(path: Path) -> list[tuple[bytes, Fraction]]:
    """(bytes, seconds) of every sound packet."""
    with av.open(path) as container:
        streams = container.streams.audio
        return [(bytes(p), p.pts * p.time_base) for p in container.demux(streams) if p.dts is not None]


def samples(path: Path) -> np.ndarray:
    """(channels, n) float, the sound as it is heard: from the moment 0 on."""
    with av.open(path) as container:
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=48_000)
        frames = [piece for frame in container.decode(audio=0) for piece in resampler.resample(frame)]
        before = round(-(frames[0].pts or 0) * frames[0].time_base * 48_000)
    wave = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
    return wave[:, before:] if before > 0 else np.pad(wave, ((0, 0), (-before, 0)))


def frame_times(path: Path) -> list[Fraction]:
    """When each frame is shown, seconds."""
    with av.open(path) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]
