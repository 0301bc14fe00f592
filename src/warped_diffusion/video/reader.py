"""Frames out of a video file, or of pictures that make up one, one at a time."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Self

import av
from av import VideoFrame
from av.container import InputContainer
from av.video.stream import VideoStream
from torch import Tensor

from warped_diffusion.errors import UserError, WarpedDiffusionError
from warped_diffusion.video.color import Colors, depth, has_alpha, to_alpha, to_tensor
from warped_diffusion.video.decoding import Damaged, decode, frame_count, frame_rate, noted_end, open_video
from warped_diffusion.video.interlacing import deinterlaced
from warped_diffusion.video.limits import USUAL, Limits
from warped_diffusion.video.orientation import turned
from warped_diffusion.video.sequence import decode_pictures, find_pictures, is_sequence, pictures_rate
from warped_diffusion.video.timeline import Timeline


class VideoReader:
    """The frames of a video file in order, decoded as they are asked for: an iterator and a context manager.

    Frames are (3, H, W) float32 RGB in [0, 1], upright and deinterlaced. A file that is damaged or cut short ends
    early: `truncated` is then true, and `warning` a sentence that counts the frames.

    Args:
        path: any file that FFmpeg decodes, whose first video stream is read; or a folder of pictures, or a pattern of
            their names, such as f-%04d.png or *.png.
        start, stop: read frames start <= index < stop only, either open. Frames before `start` are decoded and
            dropped, which is exact in every file; what lies beyond the end is left out, as in a slice.
        picture: what to make of each decoded frame, (C, H, W); by default its colours.
        frame_rate: frames a second of pictures, 25 by default; a video has its own.
        limits: how large it may be.
    Raises: UserError for a missing file, one that holds no video, or no frame within the range, or too large a frame,
        or a frame rate for a video; later, while frames are read, if their size changes or there are too many.
    """

    def __init__(
        self,
        path: str | Path,
        start: int | None = None,
        stop: int | None = None,
        picture: Callable[[VideoFrame], Tensor] = to_tensor,
        frame_rate: Fraction | None = None,
        limits: Limits = USUAL,
    ) -> None:
        self.path, self.start, self.stop, self._picture = Path(path), start or 0, stop, picture
        if self.start < 0 or (stop is not None and stop <= self.start):
            raise UserError(f"the range {start}:{stop} holds no frame: give 0 <= start < stop")
        self.limits = limits
        self.decoded = 0
        """Frames handed out so far."""
        self.truncated = False
        """Whether the file broke off before its end; known once the last frame has been asked for."""
        self.transparent = False
        """Whether any frame so far had a pixel that is not opaque."""
        self._interlaced = False
        self._closed = False
        self.files: list[Path] = find_pictures(self.path) if is_sequence(self.path) else []
        """The pictures, all that there are, if they are files of their own."""
        self._container: InputContainer | None = None
        self._stream: VideoStream | None = None
        if not self.files:
            self._container, self._stream = open_video(self.path, limits)
        try:
            self._learn(frame_rate)
            self._frames = self._read()
            first = next(self._frames, None)
            if first is None:
                raise UserError(self._empty())
        except BaseException:
            self.close()
            raise
        self.size: tuple[int, int] = (first.shape[-2], first.shape[-1])
        """(H, W), pixels, as shown: upright, if the file says how the camera was held."""
        self._frames = chain([first], self._frames)

    @property
    def frames_expected(self) -> int | None:
        """How many frames there should be within the range, by the file's own account; None if it does not say."""
        if self._total is None:
            return None
        stop = self._total if self.stop is None else min(self.stop, self._total)
        return max(stop - self.start, 1)

    @property
    def frames_counted(self) -> bool:
        """Whether `frames_expected` is the file's count, and not worked out from how long it lasts."""
        return bool(self.files or (self._stream is not None and self._stream.frames))

    @property
    def whole(self) -> bool:
        """Whether the file is read from its first frame to its last."""
        return self.start == 0 and self.stop is None and not self.truncated

    @property
    def warning(self) -> str | None:
        """What to tell the user about the file; None if nothing is amiss so far."""
        said = []
        if self.truncated:
            count, expected = len(self.timeline), self.frames_expected or 0
            among = f" of {expected}" if expected > count else ""
            said.append(f"{self.path} is damaged or cut short: frames read: {count}{among}")
        if self._interlaced:
            said.append(f"{self.path} is interlaced: the two fields of each frame were made into one picture")
        return "; ".join(said) or None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Tensor:
        if self._closed:  # FFmpeg would crash
            raise WarpedDiffusionError(f"{self.path} is closed: read its frames before")
        frame = next(self._frames)
        self.decoded += 1
        return frame

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; what was learnt about it stays."""
        self._closed = True
        if self._container is not None:
            self._container.close()

    def _learn(self, rate: Fraction | None) -> None:
        """What the file says of itself; `rate` is of pictures only."""
        if self._container is None or self._stream is None:
            self.has_audio, self.frame_rate = False, pictures_rate(rate)
            self._total: int | None = len(self.files)
        elif rate is not None:
            raise UserError(f"{self.path} is a video and has its own frame rate: leave the frame rate out")
        else:
            self.has_audio = bool(self._container.streams.audio)
            self.frame_rate = frame_rate(self._stream)
            self._total = frame_count(self._container, self._stream)
        self.timeline = Timeline(self.frame_rate)
        """When each frame read so far is shown, from `origin` on."""

    def _decoded(self) -> Iterator[VideoFrame]:
        """All frames of the range, as stored."""
        if self._container is None or self._stream is None:
            return decode_pictures(self.files, self.start, self.stop, self.limits)
        return islice(deinterlaced(self._noticed(decode(self._container, self._stream))), self.start, self.stop)

    def _noticed(self, frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
        for frame in frames:
            self._interlaced |= frame.interlaced_frame
            yield frame

    def _read(self) -> Iterator[Tensor]:
        """Pictures of the range, their times noted in `timeline` before each is handed out."""
        shape = None
        try:
            for frame in self._decoded():
                tick = Fraction(frame.time_base or 1)
                time = None if frame.pts is None else frame.pts * tick
                picture = self._picture(frame)
                if shape is None:
                    shape = picture.shape
                    self.limits.check_size((shape[-2], shape[-1]), f"a frame of {self.path}")
                    self._begin(time, frame)
                elif picture.shape != shape:
                    raise UserError(
                        f"{self.path} changes from {shape[-1]}x{shape[-2]} to {picture.shape[-1]}x{picture.shape[-2]} "
                        f"at frame {self.start + len(self.timeline)}: cut it there with a range"
                    )
                if not self.transparent and (opacity := to_alpha(frame)) is not None:
                    self.transparent = bool((opacity < 1).any())
                duration = frame.duration * tick if frame.duration else None
                self.limits.check_frames(self.start + len(self.timeline) + 1, self.path)
                self.timeline.add(None if time is None else time - self.origin, tick, duration)
                yield picture
        except Damaged:
            self.truncated = True
            return
        if shape is None or self.stop is not None or self._container is None or self._stream is None:
            return
        if (end := noted_end(self._container, self._stream)) is not None:
            self.timeline.finish(end - self.origin, Fraction(self._stream.time_base or 1))

    def _begin(self, time: Fraction | None, first: VideoFrame) -> None:
        """Note what holds for the whole clip; `time` of the first frame is in seconds of the file."""
        start = Fraction(0 if self._container is None else self._container.start_time or 0, av.time_base)
        self.origin = max(start, Fraction(0)) if self.start == 0 or time is None else time
        """The moment of the file, seconds, that is 0 in `timeline`: its start, or the first frame of a range."""
        aspect = Fraction((self._stream and self._stream.sample_aspect_ratio) or 1)
        self.pixel_aspect = 1 / aspect if turned(first) else aspect
        """Width of a pixel over its height, as shown."""
        self.colors = Colors.of(first)
        """What its numbers mean as colours."""
        self.bits = depth(first.format)
        """Of a pixel's component."""
        self.has_alpha = has_alpha(first.format)
        """Whether its frames have an alpha channel; see `transparent` for whether it says anything."""

    def _empty(self) -> str:
        if self.start == 0:
            return f"{self.path} holds no frame that can be decoded"
        held = f"{self._total} frames" if self._total else f"at most {self.start} frames"
        stop = "" if self.stop is None else self.stop
        return f"{self.path} has no frame in the range {self.start}:{stop}: it holds {held}"
