"""What is read is what was written; what cannot be read is said in one sentence."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from tests.video.clips import make_clip, pictures
from warped_diffusion.errors import UserError, WarpedDiffusionError
from warped_diffusion.video import VideoReader

LOSSLESS = 2.5 / 255  # conversion to 8-bit YCbCr and back; nothing is lost in the file
COUNT = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reader")


@pytest.fixture(scope="module")
def clip(folder):
    return make_clip(folder / "clip.mp4", pictures(COUNT), sound="aac")


@pytest.mark.parametrize("size", [(36, 48), (35, 49), (2, 16), (37, 48)])
def test_frames_come_in_order_at_their_own_size(tmp_path, size):
    frames = pictures(7, size)
    with VideoReader(make_clip(tmp_path / "clip.mp4", frames)) as reader:
        assert (reader.size, reader.frames_expected, reader.has_audio) == (size, 7, False)
        read = torch.stack(list(reader))
        assert (reader.decoded, reader.truncated, reader.warning) == (7, False, None)
    assert read.dtype == torch.float32
    torch.testing.assert_close(read, frames, rtol=0, atol=LOSSLESS)


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30), Fraction(25, 2)])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_frame_rate_and_count_are_exact(tmp_path, rate, ending):
    with VideoReader(make_clip(tmp_path / f"clip.{ending}", pictures(12), rate)) as reader:
        assert (reader.frame_rate, reader.frames_expected) == (rate, 12)


@pytest.mark.parametrize(("start", "stop"), [(None, None), (0, 1), (5, None), (None, 9), (7, 20), (29, 30), (20, 99)])
def test_a_range_is_a_slice(clip, start, stop):
    with VideoReader(clip) as whole, VideoReader(clip, start, stop) as part:
        expected = list(whole)[start:stop]
        assert part.frames_expected == len(expected)
        assert torch.equal(torch.stack(list(part)), torch.stack(expected))
        assert part.decoded == len(expected)
        assert not part.truncated


def test_frames_are_decoded_as_they_are_asked_for(clip):
    with VideoReader(clip) as reader:
        next(reader)
        assert reader.decoded == 1
        assert len(reader.timeline) == 1
        assert reader.has_audio


def test_a_closed_reader_says_so(clip):
    with VideoReader(clip) as reader:
        next(reader)
    with pytest.raises(WarpedDiffusionError, match="closed"):
        next(reader)


def test_turned_pictures_come_upright(tmp_path):
    frames = pictures(2)
    with VideoReader(make_clip(tmp_path / "clip.mp4", frames, rotation=90, aspect=Fraction(4, 3))) as reader:
        assert reader.size == (48, 36)
        assert reader.pixel_aspect == Fraction(3, 4)
        expected = torch.from_numpy(np.rot90(frames[0].numpy(), 1, (1, 2)).copy())  # a matrix of +90 turns to the left
        torch.testing.assert_close(next(reader), expected, rtol=0, atol=LOSSLESS)


@pytest.mark.parametrize(
    ("ending", "codec"), [("mp4", "libx264"), ("mkv", "libx264"), ("ts", "libx264"), ("mp4", "mjpeg")]
)
def test_a_truncated_file_gives_what_is_whole_and_a_warning(tmp_path, ending, codec):
    frames = torch.rand(COUNT, 3, 36, 48, generator=torch.Generator().manual_seed(0))
    whole = make_clip(tmp_path / f"whole.{ending}", frames, codec=codec)
    cut = tmp_path / f"cut.{ending}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    with VideoReader(whole) as reader:
        good = list(reader)
        assert not reader.truncated
    with VideoReader(cut) as reader:
        read = list(reader)
    assert COUNT // 3 < len(read) < COUNT
    assert torch.equal(torch.stack(read), torch.stack(good[: len(read)]))  # none is half a picture
    assert reader.truncated
    assert f"frames read: {len(read)}" in str(reader.warning)
    assert "damaged or cut short" in str(reader.warning)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_file_cut_between_frames_is_truncated(tmp_path, ending):
    clip = make_clip(tmp_path / f"clip.{ending}", pictures(20), codec="mjpeg")
    with av.open(clip) as container:
        place = [packet.pos for packet in container.demux(video=0) if packet.size][12]
    clip.write_bytes(clip.read_bytes()[:place])
    with VideoReader(clip) as reader:
        assert len(list(reader)) == 12
        assert "frames read: 12 of 20" in str(reader.warning)


def test_a_stream_cut_between_frames_but_within_a_packet_is_truncated(tmp_path):
    clip = make_clip(tmp_path / "clip.ts", pictures(5))
    clip.write_bytes(clip.read_bytes() + b"\x47" * 20)
    with VideoReader(clip) as reader:
        assert len(list(reader)) == 5
        assert reader.warning is not None


def test_damage_within_ends_the_clip_there(tmp_path):
    frames = torch.rand(COUNT, 3, 36, 48, generator=torch.Generator().manual_seed(0))
    data = bytearray(make_clip(tmp_path / "clip.mp4", frames).read_bytes())
    middle = data.find(b"mdat") + (len(data) - data.find(b"mdat")) // 2
    data[middle : middle + 20_000] = bytes(20_000)
    (tmp_path / "clip.mp4").write_bytes(data)
    with VideoReader(tmp_path / "clip.mp4") as reader:
        assert 0 < len(list(reader)) < COUNT
        assert f"frames read: {reader.decoded} of {COUNT}" in str(reader.warning)


def test_a_range_that_ends_before_the_damage_is_fine(tmp_path):
    frames = torch.rand(COUNT, 3, 36, 48, generator=torch.Generator().manual_seed(0))
    clip = make_clip(tmp_path / "clip.mp4", frames)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with VideoReader(clip, 2, 6) as reader:
        assert len(list(reader)) == 4
        assert reader.warning is None


def test_files_that_are_no_clips_are_refused(tmp_path, clip):
    (tmp_path / "text.mp4").write_text("not a video\n" * 50)
    (tmp_path / "text.txt").write_text("not a video\n" * 50)
    (tmp_path / "empty.mp4").touch()
    data = clip.read_bytes()
    (tmp_path / "header.mp4").write_bytes(data[: data.find(b"mdat") + 4])
    sound = tmp_path / "sound.m4a"
    with av.open(clip) as source, av.open(sound, "w", format="mp4") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    for name, words in {
        "missing.mp4": "does not exist",
        ".": "holds no picture",
        "text.mp4": "not a video",
        "text.txt": "video",
        "empty.mp4": "not a video",
        "header.mp4": "no frame that can be decoded",
        "sound.m4a": "holds no video",
    }.items():
        with pytest.raises(UserError, match=words) as caught:
            VideoReader(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("start", "stop", "words"), [(30, None, "it holds 30 frames"), (8, 8, "holds no frame"), (-3, None, "0 <= start")]
)
def test_an_empty_range_is_refused(clip, start, stop, words):
    with pytest.raises(UserError, match=words):
        VideoReader(clip, start, stop)
