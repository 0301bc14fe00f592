"""Interlaced video: two half pictures of different moments in a frame, made into one picture."""

from collections.abc import Iterator
from contextlib import suppress

import av
from av import VideoFrame
from av.filter import Graph

from warped_diffusion.errors import UserError
from warped_diffusion.video.decoding import Damaged

FILTER = "bwdif", "mode=send_frame:parity=auto:deint=interlaced"
"""A frame comes out for each that goes in, at its time; those not marked as interlaced as they are."""


def deinterlaced(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """The same frames; from the first that is marked as interlaced on, through FFmpeg's bwdif.   Raises: Damaged."""
    weaver: Deinterlacer | None = None
    damaged = False
    try:
        for frame in frames:
            if weaver is not None and not weaver.takes(frame):
                yield from weaver.finish()
                weaver = None
            if weaver is None and frame.interlaced_frame:
                weaver = Deinterlacer(frame)
            if weaver is None:
                yield frame
            else:
                yield from weaver.add(frame)
    except Damaged:
        damaged = True
    if weaver is not None:
        yield from weaver.finish()
    if damaged:
        raise Damaged


class Deinterlacer:
    """FFmpeg's filter for frames like the given one; it holds one frame back."""

    def __init__(self, like: VideoFrame) -> None:
        self._kind = _kind(like)
        self._graph = Graph()
        try:
            self._connect(like)
        except av.FFmpegError as error:
            raise UserError(
                f"the input is interlaced, and its frames of {like.width}x{like.height} {like.format.name} cannot be "
                f"deinterlaced ({error.strerror}): deinterlace it beforehand"
            ) from error

    def _connect(self, like: VideoFrame) -> None:
        source = self._graph.add_buffer(
            width=like.width, height=like.height, format=like.format, time_base=like.time_base
        )
        bwdif, sink = self._graph.add(*FILTER), self._graph.add("buffersink")
        source.link_to(bwdif)
        bwdif.link_to(sink)
        self._graph.configure()

    def takes(self, frame: VideoFrame) -> bool:
        """Whether the frame is of the same size and format."""
        return _kind(frame) == self._kind

    def add(self, frame: VideoFrame | None) -> Iterator[VideoFrame]:
        """The frames that are ready after this one."""
        self._graph.push(frame)
        with suppress(av.BlockingIOError, av.EOFError):
            while True:
                yield self._graph.pull()  # type: ignore[misc]

    def finish(self) -> Iterator[VideoFrame]:
        """What is left."""
        return self.add(None)


def _kind(frame: VideoFrame) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name
