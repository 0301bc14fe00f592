"""Frames into a video file, one at a time."""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.packet import Packet
from av.video.stream import VideoStream
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.video.color import FULL_RANGE, LIMITED_RANGE, RGB, Colors, has_alpha, to_frame
from warped_diffusion.video.encoding import VISUALLY_LOSSLESS, Encoding, choose_encoding, file_kind
from warped_diffusion.video.reader import VideoReader
from warped_diffusion.video.timeline import Timeline
from warped_diffusion.video.tracks import Tracks
from warped_diffusion.video.unfinished import Unfinished, reported

FRAME_DURATION = 1 << 8
"""FFmpeg's AV_CODEC_FLAG_FRAME_DURATION: how long a frame is shown goes through the encoder."""

MUXING = {
    # The index goes before the pictures, so that a browser can begin to play at once.
    "mp4": {"movflags": "faststart"},
    "mov": {"movflags": "faststart"},
    # What an encoder of sound puts before the first sample begins before 0; else all pictures would be shown later.
    "matroska": {"avoid_negative_ts": "disabled"},
    "webm": {"avoid_negative_ts": "disabled"},
}
"""Options of FFmpeg's muxers."""


class VideoWriter(Unfinished):
    """A video file in the making, usually H.264, tagged BT.709 or as the clip that it is made from.

    Sizes stay exactly as they are: even ones are 4:2:0, which everything plays, odd ones 4:4:4, the only H.264 that has
    them.

    Args:
        path: file to write; .mp4, .m4v, .mov, .mkv, .ts or .webm.
        like: the clip that this one is made from, which gives the time of every frame, the shape of its pixels, their
            depth and what they mean as colours, and sound, subtitles, chapters and text (see `Tracks`; those of the
            range, if it was opened with one).
        size: (H, W) of the frames to come, pixels; None for those of `like`.
        frame_rate: frames a second, where there is no such clip.
        overwrite: replace a file that exists.
        codec, quality: see `choose_encoding`.
        alpha: the frames have an opacity, which should be kept; `keeps_alpha` says whether it can be.
        comment: how the clip was made; added to the file's comment.
        partial: see `Unfinished`.
    Raises: UserError if the file exists, is the input or cannot be written, or for a codec or quality that do not go
        with it.
    """

    def __init__(
        self,
        path: str | Path,
        like: VideoReader | None = None,
        size: tuple[int, int] | None = None,
        *,
        frame_rate: Fraction | int | None = None,
        overwrite: bool = False,
        codec: str | None = None,
        quality: str | float = VISUALLY_LOSSLESS,
        alpha: bool = False,
        comment: str | None = None,
        partial: Path | None = None,
    ) -> None:
        if (like is None) == (frame_rate is None) or (like is None and size is None):
            raise UserError("a clip to write needs either the clip it is like, or a frame_rate and a size")
        path, size = Path(path), size or like.size  # type: ignore[union-attr]
        self._source, self._alpha, self._comment = like, alpha, comment
        self._timeline = Timeline(Fraction(frame_rate)) if like is None else like.timeline  # type: ignore[arg-type]
        self._kind = file_kind(path)
        require_free(path, like, overwrite)
        self._colors, bits = (Colors(), 8) if like is None else (like.colors, like.bits)
        self._encoding = choose_encoding(path, codec, quality, size, bits, alpha)
        self._tracks: Tracks | None = None
        self._held: list[Packet] = []
        self._begun: int | None = None
        super().__init__(path, size, partial)
        self._file = self.partial / f"clip{path.suffix}"
        try:
            with reported(path):
                self._container = av.open(self._file, "w", format=self._kind, options=MUXING.get(self._kind, {}))
                self._open.callback(self._close_file)
                self._stream = self._add_stream(self._encoding)
                if like is not None and not like.files:
                    self._tracks = self._carry(like)
                    self._open.callback(self._tracks.close)
                self._remark()
                self._container.start_encoding()
            self.keeps_alpha = alpha and has_alpha(self._stream.codec_context.format)  # type: ignore[arg-type]
        except BaseException:
            self._discard()
            raise

    @property
    def warning(self) -> str | None:
        """What the file does not hold as the clip that it is made from did; None if nothing."""
        notes = [] if self._tracks is None else self._tracks.notes
        if self._alpha and not self.keeps_alpha and self._source is not None and self._source.transparent:
            notes = [*notes, "transparency was left out: it would fit into --codec ffv1 or prores, or PNG pictures"]
        return f"{self.path}: {'; '.join(notes)}" if notes else None

    def write(self, frame: Tensor) -> None:
        """Append a frame (3, H, W), or with its opacity (4, H, W), in [0, 1]; values beyond are clipped.

        Raises: ShapeError, UserError.
        """
        self._require_fit(frame)
        picture = to_frame(frame if self.keeps_alpha else frame[:3], self._encoding.pixel_format, self._colors)
        picture.pts, picture.time_base = self._timeline[self.written], self._timeline.time_base
        picture.duration = 1  # only the file's end tells how long the last is shown; see `_stretch`
        with reported(self.path):
            # Sound goes along with the frames, or the muxer has to hold them all back until it comes.
            self._copy_tracks(picture.pts * picture.time_base)
            self._mux(self._stream.encode(picture))
        self.written += 1

    def _finish(self, path: Path | None) -> None:
        self._mux(self._stream.encode(None), last=True)
        self._copy_tracks(self._end() if path is None else self._last())
        self._container.close()
        self._file.replace(path or self.path)

    def _add_stream(self, encoding: Encoding) -> VideoStream:
        stream = cast(VideoStream, self._container.add_stream(encoding.encoder, rate=self._timeline.frame_rate))
        stream.options = dict(encoding.options)
        context = stream.codec_context
        context.height, context.width = self.size
        context.pix_fmt, context.time_base = encoding.pixel_format, self._timeline.time_base
        if encoding.tag:
            context.codec_tag = encoding.tag
        full = context.format is not None and context.format.is_rgb
        context.colorspace = RGB if full else self._colors.matrix
        context.color_range = FULL_RANGE if full or self._colors.full else LIMITED_RANGE
        context.color_primaries, context.color_trc = self._colors.primaries, self._colors.transfer
        context.sample_aspect_ratio = self._source.pixel_aspect if self._source is not None else Fraction(1)
        context.flags |= FRAME_DURATION
        return stream

    def _carry(self, source: VideoReader) -> Tracks:
        frames = None if source.stop is None else source.frames_expected
        end = None if frames is None else frames / source.frame_rate
        return Tracks(source.path, self._container, self._kind, source.origin, end, source.start > 0)

    def _remark(self) -> None:
        if self._comment is not None:
            before = self._container.metadata.pop("COMMENT", None) or self._container.metadata.pop("comment", None)
            self._container.metadata["comment"] = f"{before} | {self._comment}" if before else self._comment

    def _mux(self, packets: list[Packet], last: bool = False) -> None:
        """Write encoded pictures, but for the last so far: the file is as long as that one says."""
        ready = [*self._held, *packets]
        if last and len(ready) == self.written and self._encoding.encoder == "libx265":
            time_short(ready)
        if ready and self._begun is None:
            self._begun = ready[0].dts
        self._held = [] if last else ready[-1:]
        if last and ready:
            self._stretch(ready)
        for packet in ready if last else ready[:-1]:
            self._container.mux(packet)

    def _stretch(self, packets: list[Packet]) -> None:
        """Make the file end when the last picture does, given what the encoder handed out at the end.

        MP4 takes that from both the picture shown last and the last in coded order, counted from the first.
        """
        end = self._timeline[self.written - 1] + self._timeline.lasts(self.written - 1)
        final, shown = packets[-1], max(packets, key=lambda packet: packet.pts or 0)
        if self._kind in ("mp4", "mov"):
            coded = (final.dts or 0) - (self._begun or 0) + self._ticks(self._timeline[0], final)
            final.duration = max(self._ticks(end, final) - coded, 1)
        shown.duration = max(self._ticks(end, shown) - (shown.pts or 0), 1)

    def _ticks(self, stamp: int, packet: Packet) -> int:
        return round(stamp * self._timeline.time_base / packet.time_base)

    def _end(self) -> Fraction | None:
        """Seconds up to which sound belongs to the frames written; None for all there is."""
        if self._source is not None and self._source.whole:
            return None
        return self._last()

    def _last(self) -> Fraction:
        """Seconds at which the last frame written ends."""
        last = self.written - 1
        return (self._timeline[last] + self._timeline.lasts(last)) * self._timeline.time_base

    def _copy_tracks(self, end: Fraction | None) -> None:
        if self._tracks is not None:
            for packet in self._tracks.until(end):
                self._container.mux(packet)

    def _close_file(self) -> None:
        # That writes the end of a file, here one that is to be thrown away: that it cannot is of no interest.
        with suppress(av.FFmpegError):
            self._container.close()


def time_short(packets: list[Packet]) -> None:
    """Give the packets of a whole clip, in coded order, times to be decoded at: none later than it is shown.

    x265 leaves them to chance in clips that are shorter than what it holds back to put pictures into order.
    """
    shown = [packet.pts or 0 for packet in packets]
    late = max(due - pts for due, pts in zip(sorted(shown), shown, strict=True))
    for packet, due in zip(packets, sorted(shown), strict=True):
        packet.dts = due - late


def require_free(path: Path, source: VideoReader | None, overwrite: bool) -> None:
    """Raises: UserError if the name is the input's or a folder's, or is taken, or its folder is not there."""
    if not path.parent.is_dir():
        raise UserError(f"{path} cannot be written: there is no folder {path.parent}")
    if path.is_dir():
        raise UserError(f"{path} is a folder: name a file")
    inputs = [] if source is None else source.files or [source.path]
    if path.exists() and any(path.samefile(file) for file in inputs if file.exists()):
        raise UserError(f"{path} is the input itself: choose another name for the output")
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists: choose another name, or replace it with --overwrite")
