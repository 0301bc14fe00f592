"""Encoded pictures of unknown origin to pixels: refused before they are decoded where they would not fit in memory."""

import io
import itertools
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from warped_diffusion.errors import UserError

SUFFIXES = ("jpg", "jpeg", "png", "webp")
FORMATS = ("JPEG", "PNG", "WEBP")
"""What is decoded, whatever a file is called: formats that hold a picture and nothing that is run."""

MAX_PIXELS = 2**26
"""67 megapixels, 200 MB of them: more than a full-frame camera takes."""

MAX_BYTES = 2**28
"""Of an encoded picture."""

TOO_LARGE = f"more than {MAX_BYTES >> 20} MiB encoded"

MAX_CAPTION = 10_000
"""Characters; a text encoder takes some hundreds."""

IN_A_ROW = 100
"""So many pictures that cannot be read, one after the other, and the source itself is at fault."""


class Picture(NamedTuple):
    """values (H, W, 3) uint8, its caption, "" if there is none, and what to call it in a report."""

    values: np.ndarray
    caption: str = ""
    name: str = ""


class Encoded(NamedTuple):
    """A picture that has not been read yet; `read` raises OSError or Unreadable where that fails."""

    name: str
    read: Callable[[], bytes]
    caption: str = ""


class Unreadable(Exception):
    """Why a picture cannot be used."""


def first_readable(candidates: Iterable[Encoded], bad: dict[str, str], source: str) -> Picture:
    """The first picture that can be read; those before it go into `bad` with the reason.

    Raises: UserError if `IN_A_ROW` cannot, or none is left.
    """
    for one in itertools.islice(candidates, IN_A_ROW):
        try:
            return Picture(decode(one.read()), one.caption[:MAX_CAPTION], one.name)
        except (Unreadable, OSError) as error:
            bad.setdefault(one.name, str(error))
    raise UserError(
        f"{IN_A_ROW} pictures in a row of {source} could not be read, the last was {one.name} ({bad[one.name]}): "
        "see whether these are the right files"
    )


def decode(data: bytes) -> np.ndarray:
    """JPEG, PNG or WebP to (H, W, 3) uint8, upright as its EXIF says; what is transparent is over white.

    Pillow and not OpenCV, which fills a truncated picture with grey and says nothing.
    Raises: Unreadable if it is no whole picture, or one of more than `MAX_PIXELS`.
    """
    image, ops = require_pillow()
    if not data:
        raise Unreadable("empty")
    if len(data) > MAX_BYTES:
        raise Unreadable(TOO_LARGE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sizes are judged below, and odd metadata is nobody's business
            with image.open(io.BytesIO(data), formats=FORMATS) as opened:
                width, height = opened.size
                if width * height > MAX_PIXELS:
                    raise Unreadable(f"{width}x{height} pixels, at most {MAX_PIXELS} are decoded")
                opened.load()
                return _rgb(ops.exif_transpose(opened), image)
    except (Unreadable, image.DecompressionBombError) as error:
        raise Unreadable(str(error)) from error
    except Exception as error:  # what a decoder raises for a broken file is not to be foreseen
        raise Unreadable(f"no whole JPEG, PNG or WebP picture ({type(error).__name__})") from error


def read_file(path: Path) -> bytes:
    """The bytes of a file, no more than tell that it is too large."""
    with open(path, "rb") as file:
        return file.read(MAX_BYTES + 1)


def require_pillow():  # type: ignore[no-untyped-def]  # two modules that may not be there
    """PIL's `Image` and `ImageOps`.   Raises: UserError if Pillow is missing."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise missing("Pillow", error) from error
    return Image, ImageOps


def missing(library: str, error: ImportError) -> UserError:
    """What to say where a library of the extra `train` is not installed."""
    return UserError(f'these pictures need {library} ({error}): pip install "warped-diffusion[train]"')


def _rgb(picture, image) -> np.ndarray:  # type: ignore[no-untyped-def]  # PIL's picture, and its module
    if picture.mode.startswith("I"):  # 16 bits a pixel
        grey = (np.asarray(picture).astype(np.uint32) >> 8).clip(max=255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, -1)
    if "A" in picture.mode or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = image.alpha_composite(image.new("RGBA", picture.size, "white"), picture)
    return np.array(picture.convert("RGB"))
