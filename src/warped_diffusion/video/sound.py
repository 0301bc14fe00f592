"""The sound of a video file, carried over as it is."""

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from warped_diffusion.errors import UserError


class Sound:
    """The sound streams of a file, packet by packet and undecoded, for another file.

    Args:
        source: where the sound is.
        target: the file being written; gets a stream for each of the source's, and must not have begun.
        origin: the moment of the source, seconds, that becomes 0.
        cut: leave out what lies before `origin`.
    Raises: UserError if the target's format cannot hold the sound.
    """

    def __init__(self, source: Path, target: OutputContainer, origin: Fraction, cut: bool) -> None:
        self._container = av.open(source)
        self._origin, self._cut = origin, cut
        streams = self._container.streams.audio
        try:
            self._targets: dict[int, Stream] = {s.index: target.add_stream_from_template(s) for s in streams}
        except ValueError as error:
            self.close()
            raise UserError(f"the sound of {source} does not fit: {error}; name the output .mkv") from error
        for stream in streams:
            self._targets[stream.index].metadata.update({k: v for k, v in stream.metadata.items() if k == "language"})
        self._packets = self._read() if streams else iter(())
        self._waiting = next(self._packets, None)

    def until(self, end: Fraction | None) -> Iterator[Packet]:
        """The packets not yet handed out that begin before `end`, seconds from `origin`; all that are left if None."""
        while (packet := self._waiting) and (end is None or _begin(packet) < end):
            self._waiting = next(self._packets, None)
            packet.stream = self._targets[packet.stream.index]
            yield packet

    def close(self) -> None:
        """Let go of the source."""
        self._container.close()

    def _read(self) -> Iterator[Packet]:
        """The packets wanted, on the new clock. A damaged file ends here as it does for the reader, which says so."""
        with suppress(av.FFmpegError):
            for packet in self._container.demux(self._container.streams.audio):
                if packet.is_corrupt:
                    return
                if packet.dts is None:
                    continue
                shift = round(self._origin / packet.time_base)
                packet.pts, packet.dts = (packet.dts if packet.pts is None else packet.pts) - shift, packet.dts - shift
                if not (self._cut and _begin(packet) < 0):
                    yield packet


def _begin(packet: Packet) -> Fraction:
    """Seconds."""
    return (packet.pts or 0) * packet.time_base
