"""A table of formats, read and written: frame count, times, duration, sound, shape, depth and colours stay."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from tests.video.clips import frame_times, pictures, sound_packets
from tests.video.formats import FORMATS, LAST, SIZE, UNEVEN, encoded, make
from warped_diffusion.video import VideoReader, VideoWriter
from warped_diffusion.video.decoding import noted_end

MILLISECOND = Fraction(1, 1000)  # Matroska's clock, rounded in and out
PATTERN = 10 / 255  # mean error; a lossy picture in, a lossy one out, gif's 256 colours aside
PALETTE = 24 / 255
TARGETS = ("mp4", "mkv", "mov", "ts", "webm")
FAST = {"webm": "vp9"}


def rewrite(source, target):
    with VideoReader(source) as reader, VideoWriter(target, reader) as writer:
        for frame in reader:
            writer.write(frame)
    return reader, writer


def shown(path):
    """(frame count, seconds from the first frame's beginning to the last one's end, all of them from the first)."""
    times = frame_times(path)
    with av.open(path) as container:
        stream = container.streams.video[0]
        length = noted_end(container, stream)
        if length is None:
            length = times[-1] + [frame.duration * stream.time_base for frame in container.decode(stream)][-1]
    return len(times), length - times[0], [time - times[0] for time in times]


def tags(path):
    with av.open(path) as container:
        frame = next(container.decode(video=0))
        bits = max(part.bits for part in frame.format.components)
        return (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range), bits


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    made = {}

    def clip(name):
        if name not in made:
            made[name] = make(tmp_path_factory.mktemp("clip"), FORMATS[name])
        return made[name]

    return clip


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize("name", FORMATS)
def test_count_times_duration_and_sound_stay(tmp_path, clips, name, ending):
    source, target = clips(name), tmp_path / f"out.{ending}"
    _, writer = rewrite(source, target)
    assert writer.warning is None
    count, length, times = shown(target)
    given = FORMATS[name].times
    assert count == len(given)
    assert max(abs(a - b) for a, b in zip(times, given, strict=True)) <= MILLISECOND * (ending == "mkv")
    assert abs(length - (given[-1] + LAST)) <= MILLISECOND
    if FORMATS[name].sound is None:
        return
    before, after = sound_packets(source), sound_packets(target)
    assert [data for data, _ in after] == [data for data, _ in before]
    begin, begun = frame_times(source)[0], frame_times(target)[0]
    assert max(abs((a - begin) - (b - begun)) for (_, a), (_, b) in zip(before, after, strict=True)) <= MILLISECOND
    with av.open(target) as container:
        if ending == "mp4":
            assert container.streams.video[0].duration * container.streams.video[0].time_base == given[-1] + LAST


@pytest.mark.parametrize("ending", ["mov", "ts", "webm"])
@pytest.mark.parametrize("name", ["mp4, variable rate", "ts, interlaced", "webm, vp9"])
def test_the_other_endings_keep_count_and_times(tmp_path, clips, name, ending):
    target = tmp_path / f"out.{ending}"
    rewrite(clips(name), target)
    count, _, times = shown(target)
    given = FORMATS[name].times
    assert count == len(given)
    tick = Fraction(1, 90_000) if ending != "webm" else MILLISECOND
    assert max(abs(a - b) for a, b in zip(times, given, strict=True)) <= tick


@pytest.mark.parametrize("name", FORMATS)
def test_the_picture_is_the_same_in_a_player(tmp_path, clips, name):
    kind = FORMATS[name]
    reader, _ = rewrite(clips(name), tmp_path / "out.mp4")
    expected = pictures(len(kind.times), SIZE).numpy()
    if kind.rotation:
        expected = np.rot90(expected, 1, (2, 3))
        expected = (expected[..., ::-1] if kind.flip else expected).copy()
    with VideoReader(tmp_path / "out.mp4") as again:
        frames = torch.stack(list(again))
        assert again.pixel_aspect == reader.pixel_aspect
        assert reader.pixel_aspect == (1 / kind.aspect if kind.rotation else kind.aspect)
    with av.open(tmp_path / "out.mp4") as container:
        assert next(container.decode(video=0)).rotation == 0
    assert frames.shape == expected.shape
    assert (frames - torch.from_numpy(expected)).abs().mean() < (PALETTE if name == "gif" else PATTERN)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize("name", FORMATS)
def test_depth_and_colours_are_tagged_as_the_inputs(tmp_path, clips, name, ending):
    kind = FORMATS[name]
    rewrite(clips(name), tmp_path / f"out.{ending}")
    (matrix, primaries, transfer, span), bits = tags(tmp_path / f"out.{ending}")
    given = kind.colors if name != "avi, mjpeg" else (5, 2, 2, 2)  # as JPEG has it
    assert (matrix, primaries, transfer) == tuple(1 if code == 2 else code for code in given[:3])
    assert span == (given[3] or 1)
    assert bits == (10 if "10 bits" in name else 8)


def test_ten_bits_are_ten_bits(tmp_path):
    """A ramp of 900 levels through ten bits comes back within one of them, where eight would leave steps of four."""
    ramp = torch.linspace(0.06, 0.94, 960).expand(3, 32, 960)
    with av.open(tmp_path / "in.mkv", "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 960, "yuv444p10le"
        kind = FORMATS["mkv, hevc of 10 bits"]
        frame = encoded(ramp, type(kind)(".mkv", "ffv1", "yuv444p10le", colors=(1, 1, 1, 1)))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with (
        VideoReader(tmp_path / "in.mkv") as reader,
        VideoWriter(tmp_path / "out.mkv", reader, codec="ffv1") as writer,
    ):
        frame = next(reader)
        writer.write(frame)
    with VideoReader(tmp_path / "out.mkv") as reader:
        assert reader.bits == 10
        again = next(reader)
    assert (frame - ramp).abs().max() < 1.5 / 1023
    assert (again - frame).abs().max() <= 0.51 / 1023


def test_fields_of_different_moments_become_one_picture(tmp_path):
    """Upright stripes that moved between the fields comb; afterwards neighbouring lines agree again."""
    place = torch.arange(96.0)
    with av.open(tmp_path / "in.mkv", "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0", "x264-params": "tff=1"})
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv444p"
        for j in range(12):
            fields = [0.5 + 0.3 * torch.sin((place + 5 * moment) / 4) for moment in (2 * j, 2 * j + 1)]
            woven = torch.stack(fields).repeat(32, 1).expand(3, -1, -1)
            levels = (woven * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
            container.mux(stream.encode(av.VideoFrame.from_ndarray(levels, format="rgb24")))
        container.mux(stream.encode(None))
    with VideoReader(tmp_path / "in.mkv") as reader:
        frames = list(reader)
        assert "interlaced" in str(reader.warning)
    assert len(frames) == 12

    def comb(picture):
        return (picture[:, 1:-1] - (picture[:, :-2] + picture[:, 2:]) / 2).abs().mean()

    with av.open(tmp_path / "in.mkv") as container:
        raw = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][5]
    assert comb(frames[5]) < 0.1 * comb(torch.from_numpy(raw).permute(2, 0, 1).float() / 255)


def test_a_progressive_clip_is_not_touched(tmp_path, clips):
    with VideoReader(clips("mp4, h264")) as reader:
        list(reader)
        assert reader.warning is None


def test_a_range_of_an_uneven_clip_keeps_its_times(tmp_path, clips):
    with VideoReader(clips("mp4, variable rate"), 3, 9) as reader, VideoWriter(tmp_path / "out.mp4", reader) as writer:
        for frame in reader:
            writer.write(frame)
    assert frame_times(tmp_path / "out.mp4") == [time - UNEVEN[3] for time in UNEVEN[3:9]]
