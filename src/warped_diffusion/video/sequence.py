"""Pictures, one a file, that make up a clip: found by a folder, a pattern with wildcards or one with a number."""

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from av import VideoFrame

from warped_diffusion.errors import UserError
from warped_diffusion.video.decoding import decode, open_video
from warped_diffusion.video.limits import Limits

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".pgm", ".pbm", ".ppm", ".tga")
"""Files of a folder that are taken, by their ending; others are passed over."""

NUMBER = re.compile(r"%(0?)(\d*)d")
"""Where the frame's number stands in a name, as in frame-%04d.png."""


def is_sequence(path: Path) -> bool:
    """Whether a name stands for several files: a folder, or, where there is no such file, a pattern."""
    return path.is_dir() or (not path.exists() and bool(NUMBER.search(path.name) or set("*?[") & set(path.name)))


def find_pictures(path: Path) -> list[Path]:
    """The files of a folder, or those that a pattern names, in natural order (2.png before 10.png).

    Raises: UserError if there are none, or the folder cannot be read.
    """
    if path.is_dir():
        found = picture_files(path)
        if not found:
            raise UserError(f"the folder {path} holds no picture: give one with a picture for each frame")
        return found
    files = _files(path.parent)
    if NUMBER.search(path.name):
        wanted = _expression(path.name)
        found = [file for file in files if wanted.fullmatch(file.name)]
    else:
        found = [file for file in files if file.match(path.name)]
    if not found:
        raise UserError(
            f"{path} names no file that exists: give a folder of pictures, or a pattern such as 'f-%04d.png'"
        )
    return found


def picture_files(folder: Path) -> list[Path]:
    """The pictures of a folder, in natural order; there may be none.   Raises: UserError if it cannot be read."""
    return [file for file in _files(folder) if file.suffix.lower() in PICTURES]


def _files(folder: Path) -> list[Path]:
    """In natural order, without hidden ones."""
    try:
        files = [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")]
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}") from error
    return sorted(files, key=lambda file: [(text, int(n or -1)) for text, n in re.findall(r"(\D*)(\d*)", file.name)])


def decode_pictures(files: list[Path], start: int, stop: int | None, limits: Limits) -> Iterator[VideoFrame]:
    """The first picture of each file of the range.   Raises: UserError if one is too large, or cannot be decoded."""
    for file in files[start:stop]:
        container, stream = open_video(file, limits)
        with container:
            frame = next(decode(container, stream), None)
        if frame is None:
            raise UserError(f"{file} holds no picture that can be decoded")
        frame.pts = None
        yield frame


def numbered(pattern: str, number: int) -> str:
    """The name with the number in its place."""
    return NUMBER.sub(lambda found: f"{number:{found[1]}{found[2]}d}", pattern, count=1)


def _expression(pattern: str) -> re.Pattern[str]:
    place = NUMBER.search(pattern)
    if place is None:
        return re.compile(re.escape(pattern))
    digits = rf"\d{{{place[2]},}}" if place[1] and place[2] else r"\d+"
    return re.compile(re.escape(pattern[: place.start()]) + digits + re.escape(pattern[place.end() :]))


def pictures_rate(rate: Fraction | None) -> Fraction:
    """Frames a second of pictures, which say nothing of time.   Raises: UserError for a rate that is not above 0."""
    if rate is not None and rate <= 0:
        raise UserError(f"the frame rate is above 0, got {rate}")
    return rate or Fraction(25)
