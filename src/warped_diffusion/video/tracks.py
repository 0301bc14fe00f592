"""What a video file holds beside its pictures, carried over into another: sound, subtitles, chapters, and its text."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av import AudioFrame
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from warped_diffusion.video.decoding import open_container

ENCODERS = {"mp4": "aac", "mov": "aac", "mpegts": "aac", "webm": "libopus", "matroska": "flac"}
"""What sound is transcoded to, by the kind of file, where that cannot hold it as it is."""

BIT_RATE = 96_000
"""Of transcoded sound, bits a second and channel: not to be told from the original."""

ROUNDED = Fraction(1, 500)
"""Seconds: Matroska's stamps of sound are whole milliseconds, and follow each other to two of these."""

TRANSPORT = frozenset({"aac", "ac3", "dts", "eac3", "mp1", "mp2", "mp3", "opus", "truehd"})
"""Sound that an MPEG transport stream has a sign for; FFmpeg would write any other, and nothing could read it."""

MP4_ONLY = frozenset({"flac", "opus", "truehd"})
"""Sound that FFmpeg writes into MP4 but not into QuickTime, and does not say so before it begins."""

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
"""By the number of channels, for encoders that do not know every layout, and sound that names none."""

PRIVATE = frozenset({"encoder", "major_brand", "minor_version", "compatible_brands", "duration", "software"})
"""Text that speaks of the file itself, and of what wrote it: not carried over."""


@dataclass(frozen=True)
class Copied:
    """A stream whose packets go over as they are, only their times change; those before 0 are left out if `cut`."""

    target: Stream
    cut: bool

    def take(self, packet: Packet, origin: Fraction) -> Iterator[Packet]:
        if packet.dts is None:
            return
        shift = round(origin / packet.time_base)
        packet.pts = (packet.dts if packet.pts is None else packet.pts) - shift
        packet.dts -= shift
        packet.stream = self.target
        if not (self.cut and _begin(packet) < 0):
            yield packet


@dataclass
class Transcoded:
    """A stream of sound that is decoded and encoded anew; what lies before 0 is left out if `cut`."""

    target: AudioStream
    cut: bool
    _next: int | None = None

    def take(self, packet: Packet, origin: Fraction) -> Iterator[Packet]:
        for frame in packet.decode():
            moved = self._moved(frame, origin)  # type: ignore[arg-type]
            if moved is not None:
                yield from self.target.encode(moved)
        if packet.dts is None and not packet.size:  # the end
            yield from self.target.encode(None)

    def _moved(self, frame: AudioFrame, origin: Fraction) -> AudioFrame | None:
        """The frame on the new clock, counted in samples: where it begins, to a rounded stamp, it follows the last."""
        rate = frame.sample_rate
        begin = self._next or 0
        if frame.pts is not None and frame.time_base is not None:
            given = round((frame.pts * frame.time_base - origin) * rate)
            begin = given if self._next is None or abs(given - begin) > ROUNDED * rate else begin
        self._next = begin + frame.samples
        if self.cut and begin < 0:
            if self._next <= 0:
                return None
            frame, begin = _without(frame, -begin), 0
        frame.pts, frame.time_base = begin, Fraction(1, rate)
        return frame


class Tracks:
    """All but the pictures of a file, for another file.

    Sound is copied packet by packet; where the target cannot hold it, it is transcoded, and `notes` say so. Subtitles
    and attached files are copied where the target can hold them. Chapters and text (title, language, ...) go along.

    Args:
        source: where all that is.
        target: the file being written; gets a stream for each of the source's, and must not have begun.
        kind: FFmpeg's name of the target's format.
        origin: the moment of the source, seconds, that becomes 0.
        end: seconds from there to where chapters end; None for all there are.
        cut: leave out what lies before `origin`.
    """

    def __init__(
        self, source: Path, target: OutputContainer, kind: str, origin: Fraction, end: Fraction | None, cut: bool
    ) -> None:
        self._container = open_container(source)
        self._origin, self._cut, self._kind = origin, cut, kind
        self.notes: list[str] = []
        """What could not go over as it was, in sentences."""
        self._targets: dict[int, Copied | Transcoded] = {}
        try:
            for sound in self._container.streams.audio:
                if sound.codec_context is None:
                    self.notes.append("a sound of a kind that is not known here was left out")
                else:
                    self._targets[sound.index] = self._sound(sound, target)
            for stream in self._container.streams.subtitles:
                self._add_subtitles(stream, target)
            self._attach(target)
        except BaseException:
            self.close()
            raise
        target.metadata.update(_kept(self._container.metadata))
        target.set_chapters(_chapters(self._container, origin, end))
        self._packets = self._read() if self._targets else iter(())
        self._waiting: Packet | None = None

    def until(self, end: Fraction | None) -> Iterator[Packet]:
        """The packets not yet handed out that begin before `end`, seconds from `origin`; all that are left if None."""
        while packet := self._waiting or next(self._packets, None):
            self._waiting = packet
            if end is not None and _begin(packet) >= end:
                return
            self._waiting = None
            yield packet

    def close(self) -> None:
        """Let go of the source."""
        self._container.close()

    def _read(self) -> Iterator[Packet]:
        """The packets wanted, on the new clock. A damaged file ends here as it does for the reader, which says so."""
        with suppress(av.FFmpegError):
            for packet in self._container.demux([self._container.streams[index] for index in self._targets]):
                if packet.is_corrupt:
                    return
                yield from self._targets[packet.stream.index].take(packet, self._origin)

    def _sound(self, stream: AudioStream, target: OutputContainer) -> Copied | Transcoded:
        name = _name(stream)
        if (self._kind == "mpegts" and name not in TRANSPORT) or (self._kind == "mov" and name in MP4_ONLY):
            return self._transcoded(stream, target)
        try:
            copy = target.add_stream_from_template(stream)
        except ValueError:
            return self._transcoded(stream, target)
        context = copy.codec_context
        if "channels" in context.layout.name:  # AVI says how many, not which; MP4 wants to know
            context.layout = LAYOUTS.get(context.layout.nb_channels, "stereo")
        _describe(stream, copy)
        return Copied(copy, self._cut)

    def _transcoded(self, stream: AudioStream, target: OutputContainer) -> Transcoded:
        context: AudioCodecContext = stream.codec_context
        encoder = av.Codec(ENCODERS[self._kind], "w")
        rates = encoder.audio_rates
        rate = context.sample_rate if not rates or context.sample_rate in rates else 48_000
        layout = LAYOUTS.get(context.layout.nb_channels, "stereo")
        made = cast(AudioStream, target.add_stream(encoder.name, rate=rate, layout=layout, time_base=Fraction(1, rate)))
        if encoder.name != "flac":
            made.bit_rate = BIT_RATE * made.codec_context.layout.nb_channels
        _describe(stream, made)
        self.notes.append(f"the sound ({_name(stream)}) was transcoded to {made.codec_context.codec.canonical_name}")
        return Transcoded(made, self._cut)

    def _add_subtitles(self, stream: Stream, target: OutputContainer) -> None:
        try:
            copy = target.add_stream_from_template(stream)
        except ValueError:
            better = ".mp4 or .mov" if _name(stream) == "mov_text" else ".mkv"
            self.notes.append(f"subtitles ({_name(stream)}) were left out: they would fit into {better}")
            return
        _describe(stream, copy)
        self._targets[stream.index] = Copied(copy, self._cut)

    def _attach(self, target: OutputContainer) -> None:
        if self._kind != "matroska":
            return
        for stream in self._container.streams.attachments:
            if stream.data and stream.name:
                target.add_attachment(stream.name, stream.mimetype or "application/octet-stream", stream.data)


def _without(frame: AudioFrame, count: int) -> AudioFrame:
    """The frame less its first samples."""
    values = frame.to_ndarray()
    wide = 1 if frame.format.is_planar else frame.layout.nb_channels
    rest = AudioFrame.from_ndarray(
        np.ascontiguousarray(values[:, count * wide :]),  # type: ignore[arg-type]
        format=frame.format.name,
        layout=frame.layout.name,
    )
    rest.sample_rate = frame.sample_rate
    return rest


def _name(stream: Stream) -> str:
    return stream.codec_context.codec.canonical_name


def _describe(source: Stream, target: Stream) -> None:
    """Language, title and what a player makes of it (default, forced, ...)."""
    target.metadata.update(_kept(source.metadata))
    target.disposition = source.disposition


def _kept(metadata: dict[str, str]) -> dict[str, str]:
    return {
        key: value
        for key, value in metadata.items()
        if key.lower() not in PRIVATE and not key.startswith(("_STATISTICS", "BPS", "NUMBER_OF_", "DURATION"))
    }


def _chapters(container: InputContainer, origin: Fraction, end: Fraction | None) -> list:
    """Those from `origin` to `end`, cut to fit, on the new clock."""
    kept = []
    for chapter in container.chapters():
        base = chapter["time_base"]
        if base is None:
            continue
        shift, last = round(origin / base), None if end is None else round(end / base)
        begin, stop = max(chapter["start"] - shift, 0), chapter["end"] - shift
        stop = stop if last is None else min(stop, last)
        if begin < stop:
            kept.append({**chapter, "start": begin, "end": stop})
    return kept


def _begin(packet: Packet) -> Fraction:
    """Seconds."""
    return (packet.pts or 0) * packet.time_base
