"""Pictures as clips, in and out: found by folder and pattern, 8 and 16 bits, with opacity, in PNG's own terms."""

import subprocess
import sys
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from tests.models.tiny import tiny_denoiser
from tests.video.clips import frame_times, make_clip, pictures
from warped_diffusion.errors import UserError
from warped_diffusion.models import Model, embedded
from warped_diffusion.restore_video import restore_video
from warped_diffusion.tasks import enlarge
from warped_diffusion.video import VideoReader, VideoWriter, open_output

SIZE = (24, 32)
LEVELS = 2**16 - 1


def write(folder, frames, bits=8, name="f-{:03d}.png", start=1):
    """(N, 3 or 4, H, W) in [0, 1] as PNG files."""
    folder.mkdir(exist_ok=True)
    for j, frame in enumerate(frames, start):
        levels = (frame * (2**bits - 1)).round().permute(1, 2, 0).numpy().astype(np.uint8 if bits == 8 else np.uint16)
        order = [2, 1, 0, 3][: levels.shape[-1]]
        cv2.imwrite(str(folder / name.format(j)), levels[..., order])
    return folder


def with_alpha(count=3):
    colors, place = pictures(count, SIZE), torch.linspace(0, 1, SIZE[1]).expand(1, *SIZE)
    return torch.stack([torch.cat([frame, (place + j / 7).clamp(0, 1)]) for j, frame in enumerate(colors)])


def rewrite(source, target, alpha=False, **options):
    with VideoReader(source) as reader, open_output(target, reader, **options) as writer:
        for frame in reader:
            writer.write(frame)
    return writer


@pytest.mark.parametrize("pattern", ["", "f-%03d.png", "f-%d.png", "*.png", "f-00?.png", "f-[0-9]*.png"])
@pytest.mark.parametrize("bits", [8, 16])
def test_pictures_are_a_clip(tmp_path, pattern, bits):
    folder = write(tmp_path / "in", pictures(5, SIZE), bits)
    (folder / "notes.txt").write_text("mine")
    with VideoReader(folder / pattern, frame_rate=Fraction(24000, 1001)) as reader:
        assert (reader.frames_expected, reader.frames_counted, reader.bits, reader.size) == (5, True, bits, SIZE)
        frames = torch.stack(list(reader))
        assert [reader.timeline[j] * reader.timeline.time_base for j in (0, 4)] == [0, Fraction(4004, 24000)]
    assert (frames - pictures(5, SIZE)).abs().max() <= 0.51 / (2**bits - 1)


def test_a_range_of_pictures_is_a_slice(tmp_path):
    folder = write(tmp_path / "in", pictures(5, SIZE))
    with VideoReader(folder) as whole, VideoReader(folder, 1, 3) as part:
        assert part.frames_expected == 2
        assert torch.equal(torch.stack(list(part)), torch.stack(list(whole)[1:3]))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("target", "names"),
    [("out", ["f-001.png", "f-002.png", "f-003.png"]), ("%02d.png", ["00.png", "01.png", "02.png"])],
)
def test_pictures_come_back_exactly(tmp_path, target, names, bits):
    source = write(tmp_path / "in", pictures(3, SIZE), bits)
    (tmp_path / "made").mkdir()
    place = tmp_path / "made" / target
    rewrite(source, place, comment="how it was made: \u03bb")
    folder = place if target == "out" else place.parent
    assert sorted(file.name for file in folder.iterdir()) == names
    for name, original in zip(names, sorted(source.iterdir()), strict=True):
        read = cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(read, cv2.imread(str(original), cv2.IMREAD_UNCHANGED))
        assert "how it was made: \u03bb".encode() in (folder / name).read_bytes()
    assert {file.name for file in tmp_path.iterdir()} == {"in", "made"}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("target", ["out", "out.mkv", "out.mov"])
def test_opacity_is_restored_with_the_colours(tmp_path, bits, target):
    frames = with_alpha()
    source = write(tmp_path / "in", frames, bits)
    model = Model(tiny_denoiser(), embedded.SPECTRA, lambda _: (0.01, 1.0), lambda condition: condition["picture"])
    codec = {"out": None, "out.mkv": "ffv1", "out.mov": "prores"}[target]
    options = {"task": "super-resolution", "scale": 2, "model": model, "steps": 1, "codec": codec, "cuts": "none"}
    result = restore_video(source, tmp_path / target, **options)
    assert result.warning is None
    with VideoReader(tmp_path / target, picture=lambda frame: alpha_of(frame)) as reader:
        alphas = torch.stack(list(reader))
        assert reader.bits == (12 if codec == "prores" else bits)  # FFmpeg decodes ProRes 4444 to 12 bits
    expected = enlarge(frames[:, 3:], (48, 64)).clamp(0, 1)
    assert (alphas - expected).abs().max() < (4 / 1023 if codec == "prores" else 1.01 / 255)


def alpha_of(frame):
    from warped_diffusion.video.color import to_alpha

    return to_alpha(frame)


def test_opacity_that_does_not_fit_is_said_and_only_where_there_is_some(tmp_path):
    source = write(tmp_path / "in", with_alpha())
    with VideoReader(source) as reader, VideoWriter(tmp_path / "out.mp4", reader, alpha=reader.has_alpha) as writer:
        for frame in reader:
            writer.write(frame)
    assert "transparency was left out" in str(writer.warning)
    opaque = with_alpha()
    opaque[:, 3] = 1
    with (
        VideoReader(write(tmp_path / "opaque", opaque)) as reader,
        VideoWriter(tmp_path / "opaque.mp4", reader, alpha=reader.has_alpha) as writer,
    ):
        for frame in reader:
            writer.write(frame)
    assert writer.warning is None


def test_a_video_becomes_pictures_and_a_video_again(tmp_path):
    source = make_clip(tmp_path / "in.mp4", pictures(4, SIZE), sound="aac")
    (tmp_path / "out").mkdir()
    writer = rewrite(source, tmp_path / "out")
    assert "sound" in str(writer.warning)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [f"{j:06d}.png" for j in range(4)]
    rewrite(tmp_path / "out", tmp_path / "again.mp4")
    assert frame_times(tmp_path / "again.mp4") == [Fraction(j, 25) for j in range(4)]


@pytest.mark.parametrize(
    ("source", "target", "options", "words"),
    [
        ("in", "in", {"overwrite": True}, "the input itself"),
        ("in", "taken", {}, "--overwrite"),
        ("in", "no/out", {}, "no folder"),
        ("in", "%04d.jpg", {}, "end in .png"),
        ("in", "out", {"codec": "h264"}, "leave --codec"),
        ("none-%04d.png", "out", {}, "names no file"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, source, target, options, words):
    write(tmp_path / "in", pictures(2, SIZE))
    write(tmp_path / "taken", pictures(2, SIZE))
    with pytest.raises(UserError, match=words) as caught:
        rewrite(tmp_path / source, tmp_path / target, **options)
    assert "\n" not in str(caught.value)
    assert {file.name for file in tmp_path.iterdir()} == {"in", "taken"}


def test_pictures_of_two_sizes_are_refused_and_nothing_is_left(tmp_path):
    folder = write(tmp_path / "in", pictures(2, SIZE))
    write(folder, pictures(1, (24, 40)), start=9)
    with pytest.raises(UserError, match="changes from 32x24 to 40x24"):
        rewrite(folder, tmp_path / "out")
    assert {file.name for file in tmp_path.iterdir()} == {"in"}


def test_a_video_has_its_own_rate(tmp_path):
    with pytest.raises(UserError, match="its own frame rate"):
        VideoReader(make_clip(tmp_path / "in.mp4", pictures(2)), frame_rate=Fraction(24))


def test_a_video_of_one_picture_is_still_read(tmp_path):
    with av.open(make_clip(tmp_path / "odd%1d.mp4", pictures(1))):
        pass
    with VideoReader(tmp_path / "odd%1d.mp4") as reader:  # a name that exists is no pattern
        assert len(list(reader)) == 1


def test_a_colour_profile_with_a_name_does_no_harm(tmp_path):
    """As most editors write it. To look at such a frame's side data frees it twice: a process that does so dies."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    modes = ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")
    for mode in modes:
        Image.new(mode, SIZE[::-1]).save(tmp_path / f"{mode}.png", icc_profile=profile)
    reading = "[next(VideoReader(path)) for path in 8 * sys.argv[1:]]; gc.collect()"
    words = f"import gc, sys; from warped_diffusion.video import VideoReader; {reading}; print('alive')"
    paths = [str(tmp_path / f"{mode}.png") for mode in modes]
    done = subprocess.run([sys.executable, "-c", words, *paths], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


def test_a_picture_that_was_held_on_its_side_is_turned_upright(tmp_path):
    values = np.zeros((16, 24, 3), np.uint8)
    values[:8] = 255
    held = Image.Exif()
    held[0x0112] = 6  # to be turned clockwise by a quarter
    Image.fromarray(values).save(tmp_path / "held.png", exif=held)
    with VideoReader(tmp_path / "held.png") as reader:
        upright = next(reader)
    assert upright.shape == (3, 24, 16)
    assert (upright[..., 8:] == 1).all()
    assert (upright[..., :8] == 0).all()
