"""Frames into a video file, one at a time."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
from av.video.stream import VideoStream
from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError, WarpedDiffusionError
from warped_diffusion.video.color import BT709, CHROMA_SITE, LIMITED_RANGE, to_frame
from warped_diffusion.video.reader import VideoReader
from warped_diffusion.video.sound import Sound
from warped_diffusion.video.timeline import Timeline

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".ts": "mpegts"}
"""Kinds of file to write, by their ending."""


class VideoWriter:
    """A video file in the making, H.264 tagged BT.709: a context manager.

    The file appears under its name, whole, when the context ends well; if it ends by an error nothing is left. Sizes
    stay exactly as they are: even ones are 4:2:0, which everything plays, odd ones 4:4:4, the only H.264 that has them.

    Args:
        path: file to write; .mp4, .m4v, .mov, .mkv or .ts.
        like: the clip that this one is made from, which gives the time of every frame, the shape of its pixels and the
            sound (its packets, unchanged; those of the range, if it was opened with one).
        size: (H, W) of the frames to come, pixels; None for those of `like`.
        frame_rate: frames a second, where there is no such clip.
        overwrite: replace a file that exists.
        crf: quality of x264, 0 (lossless) to 51; 16 looks like the original.
    Raises: UserError if the file exists, is the input or cannot be written, or if its format cannot hold the sound.
    """

    def __init__(
        self,
        path: str | Path,
        like: VideoReader | None = None,
        size: tuple[int, int] | None = None,
        *,
        frame_rate: Fraction | int | None = None,
        overwrite: bool = False,
        crf: float = 16,
    ) -> None:
        if (like is None) == (frame_rate is None) or (like is None and size is None):
            raise UserError("a clip to write needs either the clip it is like, or a frame_rate and a size")
        self.path, self.written = Path(path), 0
        self.size: tuple[int, int] = size or like.size  # type: ignore[union-attr]
        self._source = like
        self._timeline = Timeline(Fraction(frame_rate)) if like is None else like.timeline  # type: ignore[arg-type]
        _require_free(self.path, like, overwrite)
        self._pixel_format = "yuv444p" if self.size[0] % 2 or self.size[1] % 2 else "yuv420p"
        # Beside the target, to be moved there in one step.
        self._partial = self.path.with_name(f".{self.path.stem}.{secrets.token_hex(4)}.part")
        self._sound: Sound | None = None
        self._closed = False
        with _reported(self.path):
            kind = FORMATS[self.path.suffix.lower()]
            # The index goes before the pictures, so that a browser can begin to play at once.
            options = {"movflags": "faststart"} if kind in ("mp4", "mov") else {}
            self._container = av.open(self._partial, "w", format=kind, options=options)
        try:
            with _reported(self.path):
                self._stream = self._add_stream(crf)
                if self._source is not None and self._source.has_audio:
                    cut = self._source.start > 0
                    self._sound = Sound(self._source.path, self._container, self._source.origin, cut)
                self._container.start_encoding()
        except BaseException:
            self._discard()
            raise

    def write(self, frame: Tensor) -> None:
        """Append a frame (3, H, W) in [0, 1]; values beyond are clipped.   Raises: ShapeError, UserError."""
        if self._closed:  # FFmpeg would crash
            raise WarpedDiffusionError(f"{self.path} is closed: it takes no more frames")
        if frame.shape != (3, *self.size):
            raise ShapeError(f"{self.path} takes frames (3, {self.size[0]}, {self.size[1]}), got {tuple(frame.shape)}")
        picture = to_frame(frame, self._pixel_format)
        picture.pts, picture.time_base = self._timeline[self.written], self._timeline.time_base
        with _reported(self.path):
            # Sound goes along with the frames, or the muxer has to hold them all back until it comes.
            self._copy_sound(picture.pts * picture.time_base)
            self._container.mux(self._stream.encode(picture))
        self.written += 1

    def close(self) -> None:
        """Finish the file and put it under its name; if that fails nothing is left.   Raises: UserError."""
        if self._closed:
            return
        try:
            if not self.written:
                raise UserError(f"no frame came for {self.path}: a clip needs at least one")
            with _reported(self.path):
                self._container.mux(self._stream.encode(None))
                self._copy_sound(self._end())
                self._container.close()
                self._partial.replace(self.path)
        finally:
            self._discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._discard()

    def _add_stream(self, crf: float) -> VideoStream:
        stream = self._container.add_stream("libx264", rate=self._timeline.frame_rate)
        stream.options = {"crf": str(crf), "preset": "medium", "chroma_sample_location": CHROMA_SITE}
        context = stream.codec_context
        context.height, context.width = self.size
        context.pix_fmt, context.time_base = self._pixel_format, self._timeline.time_base
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED_RANGE
        context.sample_aspect_ratio = self._source.pixel_aspect if self._source is not None else Fraction(1)
        return stream

    def _end(self) -> Fraction | None:
        """Seconds up to which sound belongs to the frames written; None for all there is."""
        if self._source is not None and self._source.whole:
            return None
        return (self._timeline[self.written - 1] + self._timeline.step) * self._timeline.time_base

    def _copy_sound(self, end: Fraction | None) -> None:
        if self._sound is not None:
            for packet in self._sound.until(end):
                self._container.mux(packet)

    def _discard(self) -> None:
        """Let go of everything and remove the partial file; after a success there is none."""
        self._closed = True
        if self._sound is not None:
            self._sound.close()
        # Closing writes the end of a file that is to be thrown away: that it cannot is of no interest.
        with suppress(av.FFmpegError):
            self._container.close()
        self._partial.unlink(missing_ok=True)


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Failures to write, a full disk or a folder that is read-only, become a UserError that names the file."""
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error


def _require_free(path: Path, source: VideoReader | None, overwrite: bool) -> None:
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path} should end in one of {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise UserError(f"{path} cannot be written: there is no folder {path.parent}")
    if path.is_dir():
        raise UserError(f"{path} is a folder: name a file")
    if source is not None and path.exists() and path.samefile(source.path):
        raise UserError(f"{path} is the input itself: choose another name for the output")
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists: choose another name, or replace it with --overwrite")
