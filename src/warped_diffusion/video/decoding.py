"""A video file opened and decoded by FFmpeg, its failures put into words."""

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av import VideoFrame
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from warped_diffusion.errors import UserError
from warped_diffusion.video.limits import Limits

COARSEST_RATE = 1001
"""Largest denominator of a frame rate: NTSC's. Means of variable rates are rounded to it, within a millionth."""


TRANSPORT_PACKETS = (188, 192, 204)
"""Bytes of an MPEG transport stream's packets: plain, with a time code as on Blu-ray, with error correction."""

ELSEWHERE = frozenset(
    {"avisynth", "concat", "dash", "hls", "imf", "lavfi", "rtsp", "sdp", "vapoursynth", "webm_dash_manifest"}
)
"""Kinds of file, by FFmpeg's names, that are lists of other files or of places in a network, whatever their ending."""

BLOCKS = 2**16
"""Pixels that the blocks of a small or narrow frame may have beyond twice its own."""


class Damaged(Exception):
    """A stream broke off: the frames before are good."""


def open_container(path: Path) -> InputContainer:
    """The file, whatever the text in it is encoded as; FFmpeg opens no other file and no network on its behalf.

    Raises: av.FFmpegError, OSError.
    """
    kinds = ",".join(sorted(av.formats_available - ELSEWHERE))
    options = {"protocol_whitelist": "file", "format_whitelist": kinds}
    # An absolute name begins with no protocol.
    return av.open(str(path.absolute()), options=options, metadata_errors="replace")


def open_video(path: Path, limits: Limits) -> tuple[InputContainer, VideoStream]:
    """The file and its first video stream.

    Raises: UserError if there is no such file, no video in it, or one of larger frames or more of them than allowed.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist")
    if not path.is_file():
        raise UserError(f"{path} is not a file: name a video file")
    try:
        container = open_container(path)
    except PermissionError as error:
        raise UserError(f"{path} may not be read: {error.strerror}") from error
    except av.FFmpegError as error:
        raise UserError(
            f"{path} is not a video that can be decoded: another kind of file, or cut short before its index"
        ) from error
    for stream in container.streams.video:
        # A cover picture is a video stream to FFmpeg; text is one too, drawn on a terminal.
        if not stream.disposition & Disposition.attached_pic and container.format.name != "tty":
            try:
                _bound(stream, path, limits)
            except UserError:
                container.close()
                raise
            return container, stream
    container.close()
    raise UserError(f"{path} holds no video")


def _bound(stream: VideoStream, path: Path, limits: Limits) -> None:
    """Raises: UserError if the file announces too much, or what no decoder here knows.

    The decoder refuses what was not announced. It counts whole blocks, which lie beyond the frame's edge in part.
    """
    context = stream.codec_context
    if context is None:
        raise UserError(f"{path} holds video of a kind that cannot be decoded")
    limits.check_size((context.height, context.width), f"a frame of {path}")
    context.options = {**context.options, "max_pixels": str(2 * limits.pixels + BLOCKS)}


def frame_rate(stream: VideoStream) -> Fraction:
    """Frames a second, the mean where it varies; 25 for what has no rate, such as a picture."""
    rate = stream.average_rate or stream.guessed_rate
    return Fraction(rate).limit_denominator(COARSEST_RATE) if rate else Fraction(25)


def frame_count(container: InputContainer, stream: VideoStream) -> int | None:
    """How many frames the file says it holds, to one or so where it only says how long it is; None if neither."""
    seconds = _duration(container, stream)
    return stream.frames or (None if seconds is None else max(1, round(seconds * frame_rate(stream))))


def decode(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Frames in the order shown.   Raises: Damaged after the last good one if the stream breaks off."""
    for frame in _frames(container, stream):
        if frame.is_corrupt:
            raise Damaged
        frame.time_base = stream.time_base  # of those that the decoder held back PyAV does not know it
        yield frame


def _frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    packets, end, damaged = 0, 0, False
    try:
        for packet in container.demux(stream):
            # Half a packet would decode to half a picture.
            if damaged := packet.is_corrupt:
                break
            packets += packet.dts is not None
            # The decoder would take an empty packet for the end; AVI has them where a frame is shown for longer.
            for frame in packet.decode() if packet.size else ():
                end = max(end, _end(frame))
                yield frame
    except av.FFmpegError:
        damaged = True
    try:
        # What the decoder held back to put it into order is still good.
        for frame in stream.codec_context.decode(None):
            end = max(end, _end(frame))
            yield frame
    except av.FFmpegError:
        damaged = True
    if damaged or packets < stream.frames or _ends_early(stream, end) or _lacks_bytes(container):
        raise Damaged


def _end(frame: VideoFrame) -> int:
    return (frame.pts or 0) + (frame.duration or 0)


def _ends_early(stream: VideoStream, end: int) -> bool:
    """Whether a Matroska stream, which counts no frames but notes its length, lacks more than a frame of it."""
    seconds = noted_duration(stream)
    return seconds is not None and end * (stream.time_base or 0) + 1 / frame_rate(stream) < seconds


def _lacks_bytes(container: InputContainer) -> bool:
    """Whether an MPEG transport stream, which notes neither, ends within one of its packets."""
    return container.format.name == "mpegts" and all(container.size % size for size in TRANSPORT_PACKETS)


def _duration(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Seconds, from the stream or else from the container."""
    if stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    noted = noted_duration(stream)
    return noted if noted is not None or not container.duration else Fraction(container.duration, av.time_base)


def noted_end(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """When the last picture ends, seconds, by Matroska's account or MP4's; None if the file is of another kind.

    What their frames say is how far the next one is in coded order.
    """
    if "mp4" in container.format.name and stream.duration and stream.time_base:
        return (stream.duration + (stream.start_time or 0)) * stream.time_base
    return noted_duration(stream)


def noted_duration(stream: VideoStream) -> Fraction | None:
    """Seconds, from the tag that Matroska has for each stream."""
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    return 3600 * int(tag[1]) + 60 * int(tag[2]) + Fraction(tag[3]) if tag else None
