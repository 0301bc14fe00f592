"""Files decoded back: frames, times and sound, and nothing half-written."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
import torch

from tests.video.clips import frame_times, make_clip, pictures, sound_packets
from warped_diffusion.errors import ShapeError, UserError, WarpedDiffusionError
from warped_diffusion.video import VideoReader, VideoWriter

ENCODED = 2.5 / 255  # mean error of crf 16 on a smooth picture; measured 1.4 to 2.3 levels
MILLISECOND = Fraction(1, 1000)  # Matroska's clock


def copy(source: Path, target: Path, start: int | None = None, stop: int | None = None) -> VideoReader:
    """The clip written again, as restoration would."""
    with VideoReader(source, start, stop) as reader, VideoWriter(target, reader) as writer:
        for frame in reader:
            writer.write(frame)
    return reader


def describe(path: Path) -> tuple[int, Fraction | None, Fraction]:
    """Frame count, mean rate and duration in seconds, by the file's own account."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        return stream.frames, stream.average_rate, stream.duration * stream.time_base


@pytest.mark.parametrize("size", [(36, 48), (35, 49), (35, 48), (36, 49), (2, 16)])
@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
def test_frames_come_back_at_exactly_their_size(tmp_path, size, ending):
    frames = pictures(5, size)
    with VideoWriter(tmp_path / f"clip.{ending}", frame_rate=25, size=size) as writer:
        for frame in frames:
            writer.write(frame)
    with VideoReader(tmp_path / f"clip.{ending}") as reader:
        assert reader.size == size
        read = torch.stack(list(reader))
    assert read.shape == frames.shape
    assert (read - frames).abs().mean() < ENCODED


@pytest.mark.parametrize("count", [1, 2, 31])
@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(25), Fraction(25, 2)])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_rate_count_and_times_are_exact(tmp_path, count, rate, ending):
    source = make_clip(tmp_path / f"in.{ending}", pictures(count), rate)
    copy(source, tmp_path / "out.mp4")
    assert describe(tmp_path / "out.mp4") == (count, rate, count / rate)
    assert frame_times(tmp_path / "out.mp4") == [k / rate for k in range(count)]


def test_a_variable_rate_is_kept(tmp_path):
    times = [Fraction(t, 1000) for t in (0, 33, 100, 133, 300, 334, 900, 940)]
    source = make_clip(tmp_path / "in.mp4", pictures(len(times)), 25, times=times)
    copy(source, tmp_path / "out.mp4")
    written = frame_times(tmp_path / "out.mp4")
    assert len(written) == len(times)
    assert max(abs(a - b) for a, b in zip(written, frame_times(source), strict=True)) <= Fraction(1, 90_000)


def test_the_shape_of_pixels_is_kept(tmp_path):
    copy(make_clip(tmp_path / "in.mp4", pictures(2), aspect=Fraction(128, 117)), tmp_path / "out.mp4")
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert reader.pixel_aspect == Fraction(128, 117)


@pytest.mark.parametrize(("codec", "ending"), [("aac", "mp4"), ("libmp3lame", "mkv"), ("libopus", "mkv")])
@pytest.mark.parametrize("delay", [0, 4800])
def test_sound_is_copied_packet_by_packet(tmp_path, codec, ending, delay):
    source = make_clip(tmp_path / f"in.{ending}", pictures(30), sound=codec, sound_delay=delay)
    copy(source, tmp_path / f"out.{ending}")
    assert sound_packets(tmp_path / f"out.{ending}") == sound_packets(source)
    assert len(frame_times(tmp_path / f"out.{ending}")) == 30


@pytest.mark.parametrize(("start", "stop"), [(None, 10), (10, None), (10, 20)])
@pytest.mark.parametrize(("codec", "ending"), [("aac", "mp4"), ("libmp3lame", "mkv")])
def test_a_range_gets_its_part_of_the_sound(tmp_path, codec, ending, start, stop):
    source = make_clip(tmp_path / f"in.{ending}", pictures(30), sound=codec)
    target = tmp_path / f"out.{ending}"
    copy(source, target, start, stop)
    begin, end = Fraction(start or 0, 25), None if stop is None else Fraction(stop, 25)
    whole = sound_packets(source)
    expected = [(data, t - begin) for data, t in whole if (t >= begin or not start) and (end is None or t < end)]
    written = sound_packets(target)
    assert [data for data, _ in written] == [data for data, _ in expected]
    assert max(abs(a - b) for (_, a), (_, b) in zip(written, expected, strict=True)) <= MILLISECOND
    assert frame_times(target)[0] == 0


def test_sound_lies_beside_its_frames_in_the_file(tmp_path):
    """Sound written after all pictures would make players seek, and the muxer hold a whole clip in memory."""
    # 20 s: the muxer waits 10 s for missing sound, then goes on without.
    copy(make_clip(tmp_path / "in.mp4", pictures(80), rate=4, sound="aac"), tmp_path / "out.mp4")
    with av.open(tmp_path / "out.mp4") as container:
        packets = [(p.stream.type, p.pos) for p in container.demux() if p.dts is not None]
    places = {kind: [place for stream, place in packets if stream == kind] for kind in ("video", "audio")}
    assert min(places["audio"]) < places["video"][20]
    assert max(places["audio"]) > places["video"][60]


def test_a_truncated_clip_keeps_the_sound_of_its_frames(tmp_path):
    frames = torch.rand(30, 3, 36, 48, generator=torch.Generator().manual_seed(0))
    source = make_clip(tmp_path / "in.mkv", frames, sound="libmp3lame")
    whole = sound_packets(source)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    reader = copy(source, tmp_path / "out.mkv")
    assert reader.truncated
    written = sound_packets(tmp_path / "out.mkv")
    assert written == whole[: len(written)]
    assert all(time < Fraction(reader.decoded, 25) for _, time in written)


def stop_midway(target: Path) -> None:
    with VideoWriter(target, frame_rate=25, size=(36, 48), overwrite=True) as writer:
        writer.write(pictures(1)[0])
        raise RuntimeError("midway")


def test_the_file_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "clip.mp4"
    with VideoWriter(target, frame_rate=25, size=(36, 48)) as writer:
        writer.write(pictures(1)[0])
        assert not target.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    before = target.read_bytes()
    with pytest.raises(RuntimeError, match="midway"):
        stop_midway(target)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    assert target.read_bytes() == before


def test_overwriting_is_by_consent(tmp_path):
    target = tmp_path / "clip.mp4"
    target.write_bytes(b"mine")
    with pytest.raises(UserError, match="--overwrite"):
        VideoWriter(target, frame_rate=25, size=(36, 48))
    assert target.read_bytes() == b"mine"
    with VideoWriter(target, frame_rate=25, size=(36, 48), overwrite=True) as writer:
        writer.write(pictures(1)[0])
    assert len(frame_times(target)) == 1


def test_the_input_is_never_overwritten(tmp_path):
    source = make_clip(tmp_path / "in.mp4", pictures(2))
    with VideoReader(source) as reader, pytest.raises(UserError, match="input"):
        VideoWriter(tmp_path / "." / "in.mp4", reader, overwrite=True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no/such/clip.mp4", "no folder"),
        ("clip.avi", "should end in"),
        ("clip", "should end in"),
        ("folder.mp4", "is a folder"),
    ],
)
def test_places_that_cannot_be_written_are_refused(tmp_path, name, words):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UserError, match=words):
        VideoWriter(tmp_path / name, frame_rate=25, size=(36, 48), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.mp4"]


def test_a_folder_that_is_read_only_is_refused():
    place = Path("/proc")  # not even root may write there
    if not place.is_dir():
        pytest.skip("no /proc here")
    with pytest.raises(UserError, match="cannot be written"):
        VideoWriter(place / "clip.mp4", frame_rate=25, size=(36, 48))


def test_frames_of_another_shape_are_refused(tmp_path):
    with (
        pytest.raises(ShapeError, match=r"\(3, 36, 48\), got \(3, 36, 50\)"),
        VideoWriter(tmp_path / "clip.mp4", frame_rate=25, size=(36, 48)) as writer,
    ):
        writer.write(torch.zeros(3, 36, 50))
    assert not list(tmp_path.iterdir())


def test_a_clip_without_frames_is_refused(tmp_path):
    with pytest.raises(UserError, match="at least one"), VideoWriter(tmp_path / "c.mp4", frame_rate=25, size=(36, 48)):
        pass
    assert not list(tmp_path.iterdir())


def test_a_closed_file_takes_no_more_frames(tmp_path):
    with VideoWriter(tmp_path / "clip.mp4", frame_rate=25, size=(36, 48)) as writer:
        writer.write(pictures(1)[0])
    writer.close()
    with pytest.raises(WarpedDiffusionError, match="closed"):
        writer.write(pictures(1)[0])


def test_it_needs_a_clip_or_a_rate_and_a_size(tmp_path):
    with pytest.raises(UserError, match="frame_rate and a size"):
        VideoWriter(tmp_path / "clip.mp4", frame_rate=25)


def test_times_grow(tmp_path):
    times = [Fraction(0), Fraction(1, 25), Fraction(1, 10)]
    copy(make_clip(tmp_path / "in.mp4", pictures(3), times=times), tmp_path / "out.mp4")
    assert all(early < late for early, late in pairwise(frame_times(tmp_path / "out.mp4")))
