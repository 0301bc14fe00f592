"""Encoded pictures of unknown origin to pixels: refused before they are decoded where they would not fit in memory."""

import io
import warnings

import numpy as np

from warped_diffusion.errors import UserError

SUFFIXES = ("jpg", "jpeg", "png", "webp")
FORMATS = ("JPEG", "PNG", "WEBP")
"""What is decoded, whatever a file is called: formats that hold a picture and nothing that is run."""

MAX_PIXELS = 2**26
"""67 megapixels, 200 MB of them: more than what a camera of full frame takes."""

MAX_BYTES = 2**28
"""Of an encoded picture."""


class Unreadable(Exception):
    """Why a picture cannot be used."""


def decode(data: bytes) -> np.ndarray:
    """JPEG, PNG or WebP to (H, W, 3) uint8, upright as its EXIF says; what is transparent is over white.

    Raises: Unreadable if it is no whole picture, or one of more than `MAX_PIXELS`.
    """
    image, ops = require_pillow()
    if not data:
        raise Unreadable("empty file")
    if len(data) > MAX_BYTES:
        raise Unreadable(f"{len(data) / 2**20:.0f} MiB encoded, at most {MAX_BYTES // 2**20} are read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sizes are judged below, and odd metadata is nobody's business
            with image.open(io.BytesIO(data), formats=FORMATS) as opened:
                width, height = opened.size
                if width * height > MAX_PIXELS:
                    raise Unreadable(f"{width}x{height} pixels, at most {MAX_PIXELS} are decoded")
                opened.load()
                return _rgb(ops.exif_transpose(opened), image)
    except Unreadable:
        raise
    except Exception as error:  # decoders of broken files raise whatever comes to hand
        raise Unreadable(f"not a whole JPEG, PNG or WebP picture ({type(error).__name__})") from error


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


def _rgb(picture, image) -> np.ndarray:  # type: ignore[no-untyped-def]  # PIL's
    if picture.mode.startswith("I"):  # 16 bits a pixel
        grey = (np.asarray(picture, np.uint32) >> 8).clip(max=255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, -1)
    if "A" in picture.mode or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = image.alpha_composite(image.new("RGBA", picture.size, "white"), picture)
    return np.array(picture.convert("RGB"))
