"""Restoring and degrading video files: decoded, worked on and encoded as a stream."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from warped_diffusion.errors import NotFiniteError, ShapeError, UserError
from warped_diffusion.footage import Footage, restore_masked
from warped_diffusion.holes import Holes
from warped_diffusion.interrupts import Interrupts
from warped_diffusion.journal import Journal
from warped_diffusion.masked_video import ALPHA, Bounds, MaskedVideo, MaskSource, Pad, open_masked
from warped_diffusion.masks import Box
from warped_diffusion.options import Options, settled
from warped_diffusion.parts import Divided, divide, joined
from warped_diffusion.provenance import describe
from warped_diffusion.restoration import Progress
from warped_diffusion.storage import Kept
from warped_diffusion.tasks import enlarge, make_task
from warped_diffusion.video import (
    USUAL,
    VISUALLY_LOSSLESS,
    Behind,
    Limits,
    PictureWriter,
    VideoReader,
    VideoWriter,
    open_output,
    side_by_side,
    to_opacity,
)

DEGRADED_CRF = 8
"""A test input should show the task's degradation and little of the encoder's."""


@dataclass(frozen=True)
class Result:
    """What became of a clip: frames written, seconds spent, and a sentence on what the user should know.

    Of the frames, `resumed` had been finished by an earlier run that was broken off.
    """

    frames: int
    seconds: float
    warning: str | None
    resumed: int = 0


def restore_video(
    source: str | Path,
    target: str | Path,
    options: Options | None = None,
    bounds: Bounds = (None, None),
    compare: str | Path | None = None,
    overwrite: bool = False,
    begin: Callable[[int | None], None] = lambda _: None,
    progress: Progress = lambda _: None,
    mask: str | Path | None = None,
    mask_box: Box | None = None,
    track_mask: bool = False,
    pad: Pad | None = None,
    codec: str | None = None,
    quality: str | float = VISUALLY_LOSSLESS,
    frame_rate: Fraction | None = None,
    limits: Limits = USUAL,
    kept: Kept = lambda _: None,
    apart: bool = False,
    **keywords: object,
) -> Result:
    """Restore a video file or a sequence of pictures; frame rate, frame count and sound stay as they are.

    Opacity is enlarged with the pictures, where the target can hold it. The target's comment says how it was made.

    While it goes on, a folder TARGET.journal keeps what is finished (see `journal`). Called again after it was broken
    off, it goes on from there, and the output is the same.

    Args:
        source, target: the degraded clip, and where the restored one goes; see `VideoReader` and `open_output`.
        options: how; or give its fields as keywords. Cuts are counted from the file's first frame, whatever the bounds.
        bounds: the frames wanted.
        compare: also write a clip of input | each frame alone | restored, side by side.
        overwrite: replace files that exist.
        begin, progress: told of the number of denoiser evaluations to come (None if unknown), and of those done.
        mask, mask_box, track_mask, pad: what is to be filled in, for tasks that take a mask; see `MaskSource`.
        codec, quality: how the target is encoded; see `choose_encoding`.
        frame_rate: frames a second of a sequence of pictures, 25 by default.
        limits: how large the clip may be, before and after restoring.
        kept: told of the journal's folder whenever something new is safely in it.
        apart: where the clip has several shots, do not restore it, but say in what parts others may.
    Raises: UserError for a file or an option that cannot be used, or one that is not as when the clip was begun;
        Stopped after Ctrl-C, Divided as asked with `apart`. Nothing half-written is left behind but the journal, where
        there is any to go on with.
        NotFiniteError where a model fails in a frame: those before it are kept beside the target, under TARGET's name
        with ".first-N-frames", and the journal, which would lead there again, is removed.
    """
    options = settled(replace(options or Options(), **keywords))  # type: ignore[arg-type]
    masks = MaskSource(mask, mask_box, track_mask, pad)
    further = {"range": _range(bounds), "mask": mask, "mask_box": mask_box, "track_mask": track_mask, "pad": pad}
    with ExitStack() as stack:
        footage = Footage(Path(source), options, bounds, masks, stack, frame_rate, limits)
        reader = footage.video.reader
        how = {"codec": codec, "quality": quality, "alpha": reader.has_alpha and mask != ALPHA}
        how["comment"] = describe(footage.options, **further)
        journal = stack.enter_context(Journal(Path(target), kept))
        journal.open(footage.settings)
        how["overwrite"] = overwrite = overwrite or journal.placing
        partial = journal.partial(Path(target))
        writer = open_output(target, reader, footage.size, partial=partial, **how)  # type: ignore[arg-type]
        stack.enter_context(writer)
        if apart and (parts := divide(footage, journal)):
            raise Divided(parts)
        begin(reader.frames_expected and reader.frames_expected * options.steps * (1 if compare is None else 2))
        interrupts, resumed = stack.enter_context(Interrupts()), journal.count
        clock = Clock(_restored(footage, journal, kept, progress, interrupts))
        beside = None
        if compare is not None:
            beside = Comparison(Path(compare), footage, journal, progress, overwrite, stack)
        _write(clock, footage, writer, journal, beside, stack)
        warnings = filter(None, (reader.warning, footage.video.warning, writer.warning))
    return Result(writer.written, clock.seconds, "; ".join(warnings) or None, resumed)


def _restored(
    footage: Footage, journal: Journal, kept: Kept, progress: Progress, interrupts: Interrupts
) -> Iterator[Tensor]:
    """The restored frames of the clip, in one piece or joined from its parts."""
    if journal.parts:
        return joined(footage, journal, kept, progress, interrupts)
    track = journal.track("restored", footage.bits)
    return restore_masked(footage.video, footage.options, progress, track, interrupts)


def _write(
    frames: Iterable[Tensor],
    footage: Footage,
    writer: VideoWriter | PictureWriter,
    journal: Journal,
    beside: "Comparison | None",
    stack: ExitStack,
) -> None:
    """All frames, each encoded while the next ones are restored; then the journal is told that they are."""
    opacity = _opacity(footage.video, footage.size, stack) if writer.keeps_alpha else None
    with Behind(writer.write) as write, _keeping(writer, write, journal, footage.video.reader.start):
        for frame in frames:
            write(frame if opacity is None else torch.cat([frame, next(opacity)]))
            if beside is not None:
                beside.add(frame)
        write.finish()
        if beside is not None:
            beside.finish()
        journal.place()


@contextmanager
def _keeping(writer: VideoWriter | PictureWriter, write: Behind, journal: Journal, start: int) -> Iterator[None]:
    """If a frame turns out to be no numbers, those before it are kept under a name that says so.

    Args:
        write: hands frames to the writer.
    Raises: NotFiniteError with the frame's number in the file, of which `start` is the first.
    """
    try:
        yield
    except NotFiniteError as error:
        write.finish()
        kept = None
        if writer.written:
            ending = f".first-{writer.written}-frames{writer.path.suffix}"
            kept = writer.path.with_name(writer.path.stem + ending)
            writer.close(kept)
        journal.forget()
        raise NotFiniteError(start + error.frame, kept) from error


def degrade_video(
    source: str | Path,
    target: str | Path,
    task: str = "super-resolution",
    scale: int | None = None,
    bounds: Bounds = (None, None),
    overwrite: bool = False,
    mask: str | Path | None = None,
    mask_box: Box | None = None,
    blur: float | None = None,
) -> str | None:
    """Write the clip as the task's inputs look; returns a warning if it could not be read to its end.

    Raises: UserError as `restore_video`.
    """
    worker = make_task(task, scale, blur)
    with ExitStack() as stack:
        video = open_masked(source, bounds, MaskSource(mask, mask_box), 0, stack)
        empty = torch.zeros(1, *video.size)
        try:
            sample = worker.degrade(empty.expand(3, -1, -1), None if video.masks is None else empty)
        except ShapeError as error:
            raise UserError(f"{source}: {error}") from error
        size = (sample.shape[-2], sample.shape[-1])
        writer = stack.enter_context(VideoWriter(target, video.reader, size, overwrite=overwrite, quality=DEGRADED_CRF))
        for frame, hole in _pairs(video):
            writer.write(worker.degrade(frame, hole))
    return "; ".join(filter(None, (video.reader.warning, video.warning))) or None


def _opacity(video: MaskedVideo, size: tuple[int, int], stack: ExitStack) -> Iterator[Tensor]:
    """(1, H, W) for each frame, at the size of the output; what is added around a frame is opaque."""
    reader, bounds = video.reader, (video.reader.start, video.reader.stop)
    opacities = stack.enter_context(VideoReader(reader.path, *bounds, to_opacity, limits=reader.limits))
    left, top, right, bottom = video.source.pad or (0, 0, 0, 0)
    for given in opacities:
        alpha = F.pad(given, (left, right, top, bottom), value=1.0)
        yield alpha if video.size == size else enlarge(alpha[None], size)[0].clamp(0, 1)


def _range(bounds: Bounds) -> str | None:
    text = ":".join("" if bound is None else str(bound) for bound in bounds)
    return None if text == ":" else text


def _pairs(video: MaskedVideo) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Each frame with its mask, if there are any.   Raises: UserError if there are more or fewer masks than frames."""
    holes = None if video.masks is None else Holes(video.masks, video.size, 0, 0)
    count = 0
    for count, frame in enumerate(video.frames, 1):
        yield frame, None if holes is None else holes.take(count - 1).mask
    if holes is not None:
        holes.finish(count)


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
    """The same clip beside itself, in a file: the input (enlarged), each frame alone, restored.

    Args:
        path: of the file.
        footage: the clip, opened twice more.
        journal: of the restored clip; it keeps what is restored here as well.
        overwrite: replace a file that exists.
        stack: closes what is opened, and puts the file into its place if all goes well.
    """

    def __init__(
        self, path: Path, footage: Footage, journal: Journal, progress: Progress, overwrite: bool, stack: ExitStack
    ) -> None:
        self.path, self.like, self.size = path, footage.video.reader, footage.size
        self._partial, self._overwrite, self._stack = journal.partial, overwrite, stack
        self._write: Behind | None = None
        inputs, alone = (footage.open(stack, masked=n > 0) for n in range(2))
        self.inputs = inputs.frames
        self.label = "input" if inputs.size == self.size else "input, bicubic"
        options, track = (
            replace(footage.options, noise="resample", guidance="none"),
            journal.track("alone", footage.bits),
        )
        self.alone = restore_masked(alone, options, progress, track)

    def add(self, restored: Tensor) -> None:
        """The next frame."""
        strip = self.strip(restored)
        if self._write is None:
            size = (strip.shape[-2], strip.shape[-1])
            partial = self._partial(self.path)
            writer = VideoWriter(self.path, self.like, size, overwrite=self._overwrite, partial=partial)
            self._write = self._stack.enter_context(Behind(self._stack.enter_context(writer).write))
        self._write(strip)

    def finish(self) -> None:
        """Wait until all is written."""
        if self._write is not None:
            self._write.finish()

    def strip(self, restored: Tensor) -> Tensor:
        """(3, H, W'): the next frame of each, labelled."""
        shown = next(self.inputs)
        if tuple(shown.shape[-2:]) != self.size:
            shown = enlarge(shown[None], self.size)[0].clamp(0, 1)
        return side_by_side([shown, next(self.alone), restored], [self.label, "each frame alone", "restored"])
