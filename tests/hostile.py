"""Files that are not what they say: clips and masks of several kinds, harmed at random by a seed."""

import struct
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from av import VideoFrame

from tests.video.clips import make_clip, pictures

SIZE = (34, 46)
"""Of the unharmed files, (height, width): numbers that are seldom found in a file by chance."""

ODD_SIZES = ((1, 1), (1, 64), (64, 1), (3, 5), (2, 90), (17, 2), (7, 7))

CLIPS: Mapping[str, tuple[str, str, str | None]] = {
    "h264.mp4": ("libx264", "yuv420p", "aac"),
    "h264.mkv": ("libx264", "yuv444p", "aac"),
    "h264.mov": ("libx264", "yuv420p", None),
    "h264.ts": ("libx264", "yuv420p", None),
    "mpeg4.avi": ("mpeg4", "yuv420p", None),
    "jpeg.avi": ("mjpeg", "yuvj420p", None),
    "vp9.webm": ("libvpx-vp9", "yuv420p", None),
    "picture.gif": ("gif", "rgb8", None),
    "raw.y4m": ("wrapped_avframe", "yuv420p", None),
    "alpha.mkv": ("ffv1", "bgra", None),
}
"""By name: codec, pixel format, sound."""

MASKS = ("mask.png", "mask.bmp", "mask.jpg", "mask.tiff", "masks.mkv", "masks.gif")


def write(path: Path, size: tuple[int, int], count: int = 3, sound: str | None = None) -> Path:
    """A clip or a picture, by its name: in `CLIPS`, or by its ending."""
    if sound:
        return make_clip(path, pictures(count, size), sound=sound)
    codec, pixels, _ = CLIPS.get(path.name, (None, None, None))
    if codec is None:
        kinds = {".mkv": ("ffv1", "bgr0"), ".gif": ("gif", "rgb8"), ".jpg": ("mjpeg", "yuvj444p")}
        codec, pixels = kinds.get(path.suffix, (path.suffix[1:], "rgb24" if path.suffix != ".bmp" else "bgr24"))
        count = 1 if path.name.startswith("mask.") else count
    pictured = (pictures(count, (max(size[0], 2), max(size[1], 2)))[..., : size[0], : size[1]] * 255).byte()
    options = {"update": "1"} if count == 1 else {}
    with av.open(path, "w", format="image2" if count == 1 else None, options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        for picture in pictured:
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture.permute(1, 2, 0).numpy()), "rgb24")
            container.mux(stream.encode(frame.reformat(format=pixels)))
        container.mux(stream.encode(None))
    return path


def flipped(data: bytearray, generator: np.random.Generator) -> None:
    """1 to 200 bits, anywhere or in the first kilobyte."""
    reach = len(data) if generator.random() < 0.5 else min(len(data), 1024)
    for place in generator.integers(reach, size=int(generator.choice((1, 8, 200)))):
        data[place] ^= 1 << int(generator.integers(8))


def cut(data: bytearray, generator: np.random.Generator) -> None:
    """Truncated, from nothing to all but the last byte."""
    del data[int(generator.integers(len(data))) :]


def shuffled(data: bytearray, generator: np.random.Generator) -> None:
    """A piece overwritten with another, with zeros or with what comes."""
    length = int(generator.integers(1, max(2, len(data) // 4)))
    start, other = (int(n) for n in generator.integers(max(1, len(data) - length), size=2))
    pieces = (bytes(data[other : other + length]), bytes(length), generator.bytes(length))
    data[start : start + length] = pieces[int(generator.integers(3))]


def lying_size(data: bytearray, generator: np.random.Generator) -> None:
    """Width or height as the file's header has it, in any of the usual forms, replaced by another number."""
    found = []
    for side in SIZE:
        for form in (">H", "<H", ">I", "<I"):
            packed, place = struct.pack(form, side), -1
            while (place := data.find(packed, place + 1)) >= 0:
                found.append((place, form))
        found += [(place, "text") for letter in b"WH" if (place := data.find(bytes([letter]) + b"%d" % side)) >= 0]
    if not found:
        return flipped(data, generator)
    for place, form in [found[int(n)] for n in generator.integers(len(found), size=2)]:
        value = int(generator.choice((0, 1, 35, 4000, 65535, 2**31 - 1, 2**32 - 1)))
        if form == "text":
            data[place + 1 : place + 3] = b"%d" % value
        else:
            most = 2 ** (8 * struct.calcsize(form)) - 1
            data[place : place + struct.calcsize(form)] = struct.pack(form, min(value, most))
    return None


def lying_numbers(data: bytearray, generator: np.random.Generator) -> None:
    """Words of the header or the index, lengths and times among them, replaced by huge or negative numbers or zero."""
    for _ in range(int(generator.choice((1, 3)))):
        near = generator.random()
        place = int(generator.integers(min(len(data), 2048)))
        place = place if near < 0.5 else max(0, len(data) - place - 4)
        value = int(generator.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**24)))
        data[place : place + 4] = struct.pack(generator.choice((">I", "<I")), value)


HARMS: tuple[Callable[[bytearray, np.random.Generator], None], ...] = (
    flipped,
    flipped,
    cut,
    shuffled,
    lying_size,
    lying_size,
    lying_numbers,
)


def harmed(path: Path, generator: np.random.Generator) -> str:
    """Harm a file in one way; returns which."""
    data = bytearray(path.read_bytes())
    harm = HARMS[int(generator.integers(len(HARMS)))]
    if data:
        harm(data, generator)
    path.write_bytes(data)
    return harm.__name__


def make_case(seed: int, folder: Path) -> tuple[list[str], str]:
    """A clip, and in a third of the cases a mask, in `folder`; what to restore with them, and what was done to them."""
    generator = np.random.default_rng(seed)
    name = str(generator.choice(list(CLIPS)))
    odd = generator.random() < 0.15
    size = ODD_SIZES[int(generator.integers(len(ODD_SIZES)))] if odd else SIZE
    masked = generator.random() < 0.35
    target = MASKS[int(generator.integers(len(MASKS)))] if masked else None
    clip = unharmed(folder / name, size)
    if target is None:
        done = "" if odd and generator.random() < 0.7 else harmed(clip, generator)
        return [str(clip)], f"{name} {size} {done}"
    mask = unharmed(folder / target, size if generator.random() < 0.8 else (9, 11))
    done = "" if generator.random() < 0.2 else harmed(mask, generator)
    return [str(clip), "--mask", str(mask)], f"{name} {size} with {target} {done}"


def unharmed(path: Path, size: tuple[int, int]) -> Path:
    """The same file anew: encoding takes longest of all."""
    name, data = _made(path.name, size)
    path = path.with_name(name)
    path.write_bytes(data)
    return path


@cache
def _made(name: str, size: tuple[int, int]) -> tuple[str, bytes]:
    with TemporaryDirectory() as folder:
        path = _write_or_plain(Path(folder, name), size)
        return path.name, path.read_bytes()


def _write_or_plain(path: Path, size: tuple[int, int]) -> Path:
    """The file, if its codec takes that size, else one whose codec takes nearly any, if need be of the usual size."""
    plain = path.with_name("alpha.mkv")
    for place, tried in ((path, size), (plain, size)):
        try:
            return write(place, tried, sound=CLIPS[place.name][2] if place.name in CLIPS and tried == SIZE else None)
        except (av.FFmpegError, ValueError):
            place.unlink(missing_ok=True)
    return write(plain, SIZE)
