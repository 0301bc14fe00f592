"""Frames into pictures, one PNG file each."""

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.video.color import Colors, to_frame
from warped_diffusion.video.reader import VideoReader
from warped_diffusion.video.sequence import NUMBER, numbered
from warped_diffusion.video.unfinished import Unfinished, reported

HEADER = 33
"""Bytes of a PNG file before what may be put into it: its signature and its first chunk, IHDR."""


class PictureWriter(Unfinished):
    """PNG pictures in the making, of 8 or 16 bits as the clip that they are made from.

    Args:
        path: a pattern with the frame's number, such as frames/%04d.png, or a folder, made if need be: pictures are
            then named as those that the clip is read from, or by the frame's number. It counts from 0, or from the
            first frame of a range.
        like: the clip that they are made from.
        size: (H, W) of the frames to come, pixels; None for those of `like`.
        overwrite: replace pictures that exist.
        alpha: the frames have an opacity, which is kept.
        comment: how they were made; becomes the comment of each.
        partial: see `Unfinished`.
    Raises: UserError for a name that is no PNG's, one that exists or is the input's, or a folder that is not there.
    """

    def __init__(
        self,
        path: str | Path,
        like: VideoReader,
        size: tuple[int, int] | None = None,
        *,
        overwrite: bool = False,
        alpha: bool = False,
        comment: str | None = None,
        partial: Path | None = None,
    ) -> None:
        path, self.keeps_alpha = Path(path), alpha
        self._source, self._overwrite, self._comment = like, overwrite, comment
        pattern = NUMBER.search(path.name) is not None and not path.is_dir()
        if pattern and path.suffix.lower() != ".png":
            raise UserError(f"{path} should end in .png: pictures are written as PNG")
        self._folder, self._pattern = _place(path, pattern)
        if not self._folder.parent.is_dir() or (pattern and not self._folder.is_dir()):
            raise UserError(f"{path} cannot be written: there is no folder {self._folder}")
        self._require_free(path, 0)
        kinds = ("rgba", "rgba64be") if alpha else ("rgb24", "rgb48be")
        self._pixel_format = kinds[like.bits > 8]
        self._colors = Colors(primaries=like.colors.primaries, transfer=like.colors.transfer)
        super().__init__(path, size or like.size, partial)

    @property
    def warning(self) -> str | None:
        """What the pictures do not hold of the clip that they are made from; None if nothing."""
        left = "its sound and its times" if self._source.has_audio else ""
        return f"{self.path}: pictures do not hold what {self._source.path} has beside: {left}" if left else None

    def write(self, frame: Tensor) -> None:
        """The next picture, (3, H, W), or with its opacity (4, H, W), in [0, 1]; values beyond are clipped.

        Raises: ShapeError, UserError.
        """
        self._require_fit(frame)
        self._require_free(self.path, self.written)
        data = _encoded(frame if self.keeps_alpha else frame[:3], self._pixel_format, self._colors)
        if self._comment is not None:
            data = data[:HEADER] + _text_chunk("Comment", self._comment) + data[HEADER:]
        with reported(self.path):
            (self.partial / self._name(self.written)).write_bytes(data)
        self.written += 1

    def _finish(self, path: Path | None) -> None:
        folder, pattern = (self._folder, self._pattern) if path is None else _place(path, self._pattern is not None)
        folder.mkdir(exist_ok=True)
        for index in range(self.written):
            (self.partial / self._name(index)).replace(folder / self._name(index, pattern))

    def _name(self, index: int, pattern: str | None = None) -> str:
        """Of the picture of a frame, counted from the first; `pattern` instead of the writer's own, if it has one."""
        number, pattern = self._source.start + index, pattern or self._pattern
        if pattern is not None:
            return numbered(pattern, number)
        return f"{self._source.files[number].stem}.png" if self._source.files else f"{number:06d}.png"

    def _require_free(self, path: Path, index: int) -> None:
        place = self._folder / self._name(index)
        if any(place.samefile(file) for file in self._source.files[:1] if place.exists()):
            raise UserError(f"{path} is the input itself: choose another name for the output")
        if place.exists() and not self._overwrite:
            raise UserError(f"{place} exists: choose another name, or replace it with --overwrite")


def _place(path: Path, several: bool) -> tuple[Path, str | None]:
    """The folder of pictures, and the pattern of their names, if `path` has one."""
    return (path.parent, path.name) if several else (path, None)


def _encoded(picture: Tensor, pixel_format: str, colors: Colors) -> bytes:
    """A PNG file."""
    encoder = av.CodecContext.create("png", "w")
    encoder.height, encoder.width = picture.shape[-2:]
    encoder.pix_fmt = pixel_format
    encoder.time_base = Fraction(1)
    frame = to_frame(picture, pixel_format, colors)
    frame.pts = 0
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    return b"".join(map(bytes, packets))


def _text_chunk(key: str, text: str) -> bytes:
    """A PNG's chunk of text in UTF-8.   [PNG, 11.3.3.4: iTXt]"""
    body = b"iTXt" + key.encode("latin-1") + bytes(5) + text.encode()
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
