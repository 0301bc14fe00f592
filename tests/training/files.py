"""Encoded pictures, whole and broken, as they lie in folders, shards and data sets."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from tests.training.packed import texture


def jpeg(number: int, size: tuple[int, int] = (72, 88)) -> bytes:
    """Blots, and in the corner a grey square that says which picture it is: number * 4."""
    values = texture(*size, np.random.default_rng(number))
    values[:16, :16] = number * 4
    return encoded(values)


def number_of(values: np.ndarray) -> int:
    """The number of a picture that `jpeg` made."""
    return round(float(values[:12, :12].mean()) / 4)


def encoded(values: np.ndarray, form: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, form, **options)
    return file.getvalue()


def bomb(side: int = 50_000) -> bytes:
    """A PNG of a hundred bytes that says it has side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


BROKEN = {
    "truncated": jpeg(1)[:-200],
    "text": b"this is no picture",
    "empty": b"",
    "bomb": bomb(),
}
"""What a crawl leaves among the pictures."""
