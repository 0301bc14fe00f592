"""Frames out of a video file, one at a time."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Self

import av
from av import VideoFrame
from torch import Tensor

from warped_diffusion.errors import UserError, WarpedDiffusionError
from warped_diffusion.video.color import to_tensor
from warped_diffusion.video.decoding import Damaged, decode, frame_count, frame_rate, open_video
from warped_diffusion.video.timeline import Timeline


class VideoReader:
    """The frames of a video file in order, decoded as they are asked for: an iterator and a context manager.

    Frames are (3, H, W) float32 RGB in [0, 1]. A file that is damaged or cut short ends early: `truncated` is then
    true, and `warning` a sentence that counts the frames.

    Args:
        path: any file that FFmpeg decodes; its first video stream is read.
        start, stop: read frames start <= index < stop only, either open. Frames before `start` are decoded and
            dropped, which is exact in every file; what lies beyond the end is left out, as in a slice.
        picture: what to make of each decoded frame, (C, H, W); by default its colours.
    Raises: UserError for a missing file, one that holds no video, or no frame within the range; later, while frames
        are read, if their size changes.
    """

    def __init__(
        self,
        path: str | Path,
        start: int | None = None,
        stop: int | None = None,
        picture: Callable[[VideoFrame], Tensor] = to_tensor,
    ) -> None:
        self.path, self.start, self.stop, self._picture = Path(path), start or 0, stop, picture
        if self.start < 0 or (stop is not None and stop <= self.start):
            raise UserError(f"the range {start}:{stop} holds no frame: give 0 <= start < stop")
        self.decoded = 0
        """Frames handed out so far."""
        self.truncated = False
        """Whether the file broke off before its end; known once the last frame has been asked for."""
        self._closed = False
        self._container, self._stream = open_video(self.path)
        try:
            self.has_audio = bool(self._container.streams.audio)
            self.frame_rate = frame_rate(self._stream)
            self.timeline = Timeline(self.frame_rate)
            """When each frame read so far is shown, from `origin` on."""
            self._total = frame_count(self._container, self._stream)
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
        return bool(self._stream.frames)

    @property
    def whole(self) -> bool:
        """Whether the file is read from its first frame to its last."""
        return self.start == 0 and self.stop is None and not self.truncated

    @property
    def warning(self) -> str | None:
        """What to tell the user about a damaged file; None if nothing is amiss so far."""
        if not self.truncated:
            return None
        count, expected = len(self.timeline), self.frames_expected or 0
        among = f" of {expected}" if expected > count else ""
        return f"{self.path} is damaged or cut short: frames read: {count}{among}"

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
        self._container.close()

    def _read(self) -> Iterator[Tensor]:
        """Pictures of the range, their times noted in `timeline` before each is handed out."""
        tick = Fraction(self._stream.time_base or 1)
        shape = None
        try:
            for frame in islice(decode(self._container, self._stream), self.start, self.stop):
                time = None if frame.pts is None else frame.pts * tick
                picture = self._picture(frame)
                if shape is None:
                    shape = picture.shape
                    self._begin(time, turned=frame.rotation % 180 != 0)
                elif picture.shape != shape:
                    raise UserError(
                        f"{self.path} changes from {shape[-1]}x{shape[-2]} to {picture.shape[-1]}x{picture.shape[-2]} "
                        f"at frame {self.start + len(self.timeline)}: cut it there with a range"
                    )
                self.timeline.add(None if time is None else time - self.origin, tick)
                yield picture
        except Damaged:
            self.truncated = True

    def _begin(self, time: Fraction | None, turned: bool) -> None:
        """Note what holds for the whole clip; `time` of the first frame is in seconds of the file."""
        start = Fraction(self._container.start_time or 0, av.time_base)
        self.origin = max(start, Fraction(0)) if self.start == 0 or time is None else time
        """The moment of the file, seconds, that is 0 in `timeline`: its start, or the first frame of a range."""
        aspect = Fraction(self._stream.sample_aspect_ratio or 1)
        self.pixel_aspect = 1 / aspect if turned else aspect
        """Width of a pixel over its height, as shown."""

    def _empty(self) -> str:
        if self.start == 0:
            return f"{self.path} holds no frame that can be decoded"
        held = f"{self._total} frames" if self._total else f"at most {self.start} frames"
        stop = "" if self.stop is None else self.stop
        return f"{self.path} has no frame in the range {self.start}:{stop}: it holds {held}"
