"""Restoring and degrading video files: decoded, worked on and encoded as a stream."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.restore import Options, Progress, restore_stream
from warped_diffusion.tasks import enlarge, make_task
from warped_diffusion.video import VideoReader, VideoWriter, side_by_side

Bounds = tuple[int | None, int | None]
"""First frame and the frame after the last, either open."""


DEGRADED_CRF = 8
"""A test input should show the task's degradation and little of the encoder's."""


@dataclass(frozen=True)
class Result:
    """What became of a clip: frames written, seconds spent, and a sentence if it could not be read to its end."""

    frames: int
    seconds: float
    warning: str | None


def restore_video(
    source: str | Path,
    target: str | Path,
    options: Options | None = None,
    bounds: Bounds = (None, None),
    compare: str | Path | None = None,
    overwrite: bool = False,
    begin: Callable[[int | None], None] = lambda _: None,
    progress: Progress = lambda _: None,
    **keywords: object,
) -> Result:
    """Restore a video file; frame rate, frame count and sound stay as they are.

    Args:
        source, target: the degraded clip, and where the restored one goes.
        options: how; or give its fields as keywords.
        bounds: the frames wanted.
        compare: also write a clip of input | each frame alone | restored, side by side.
        overwrite: replace files that exist.
        begin, progress: told of the number of denoiser evaluations to come (None if unknown), and of those done.
    Raises: UserError for a file or an option that cannot be used; nothing half-written is left behind.
    """
    options = replace(options or Options(), **keywords)  # type: ignore[arg-type]
    with ExitStack() as stack:
        reader = stack.enter_context(VideoReader(source, *bounds))
        runs = 1 if compare is None else 2
        begin(reader.frames_expected and reader.frames_expected * options.steps * runs)
        clock = Clock(restore_stream(reader, options, progress=progress))
        size = make_task(options.task, scale=options.scale).output_size(reader.size)
        writer = stack.enter_context(VideoWriter(target, reader, size, overwrite=overwrite))
        comparison = None if compare is None else Comparison(source, bounds, options, size, progress, stack)
        strips = None
        count = 0
        for frame in clock:
            count += 1
            writer.write(frame)
            if comparison is not None and compare is not None:
                strip = comparison.strip(frame)
                if strips is None:
                    width = (strip.shape[-2], strip.shape[-1])
                    strips = stack.enter_context(VideoWriter(compare, reader, width, overwrite=overwrite))
                strips.write(strip)
    return Result(count, clock.seconds, reader.warning)


def degrade_video(
    source: str | Path,
    target: str | Path,
    task: str = "super-resolution",
    scale: int = 4,
    bounds: Bounds = (None, None),
    overwrite: bool = False,
) -> str | None:
    """Write the clip as the task's inputs look; returns a warning if it could not be read to its end.

    Raises: UserError as `restore_video`.
    """
    worker = make_task(task, scale=scale)
    with VideoReader(source, *bounds) as reader:
        height, width = reader.size
        if min(height, width) < scale:
            raise UserError(f"{source} is {width}x{height}, too small for a scale of {scale}")
        size = (height // scale, width // scale)
        with VideoWriter(target, reader, size, overwrite=overwrite, crf=DEGRADED_CRF) as writer:
            for frame in reader:
                writer.write(worker.degrade(frame))
    return reader.warning


class Clock:
    """An iterator that adds up the seconds spent inside it."""

    def __init__(self, items: Iterable[Tensor]) -> None:
        self.items, self.seconds = iter(items), 0.0

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        started = time.perf_counter()
        try:
            return next(self.items)
        finally:
            self.seconds += time.perf_counter() - started


class Comparison:
    """The same clip beside itself: the input enlarged, each frame alone, restored."""

    def __init__(
        self,
        source: str | Path,
        bounds: Bounds,
        options: Options,
        size: tuple[int, int],
        progress: Progress,
        stack: ExitStack,
    ) -> None:
        self.size = size
        self.inputs = iter(stack.enter_context(VideoReader(source, *bounds)))
        alone = replace(options, noise="resample", guidance="none")
        self.alone = restore_stream(stack.enter_context(VideoReader(source, *bounds)), alone, progress=progress)

    def strip(self, restored: Tensor) -> Tensor:
        """(3, H, W'): the next frame of each, labelled."""
        enlarged = enlarge(next(self.inputs)[None], self.size)[0].clamp(0, 1)
        return side_by_side([enlarged, next(self.alone), restored], ["input, bicubic", "each frame alone", "restored"])
