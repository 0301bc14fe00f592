"""A clip in parts, one or more shots each: a shot begins with nothing of the one before, so others may restore it.

Each part has a journal of its own within the clip's, TARGET.journal/part-00000048.journal for the one that begins with
the file's frame 48. Restored in parts, frames are those of the clip in one piece: to the last bit with one lane, and
else to the rounding of batches that hold other frames.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from warped_diffusion.errors import NotFiniteError, WarpedDiffusionError
from warped_diffusion.estimators import CutDetector
from warped_diffusion.footage import Footage, read_through, restore_masked
from warped_diffusion.holes import Holes, missing
from warped_diffusion.interrupts import Interrupts
from warped_diffusion.journal import Journal, folder_of
from warped_diffusion.masked_video import MaskedVideo
from warped_diffusion.options import Options, check_cuts, choose_device
from warped_diffusion.restoration import Progress, Restoration
from warped_diffusion.storage import Kept
from warped_diffusion.tasks import make_task

MOST = 64
"""Parts of a clip: each decodes the file from its beginning, so together they decode it half as often."""


@dataclass(frozen=True)
class Part:
    """Consecutive shots of a clip.

    Attributes:
        first, end: the file's frame that it begins with, and the one after its last; None for all that are left.
        shot: the number of its first shot, counted from 0 where the clip begins.
        cuts: the file's frames that begin its other shots.
    """

    first: int
    end: int | None
    shot: int
    cuts: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return f"part-{self.first:08d}"

    @property
    def folder(self) -> str:
        """The name of its journal."""
        return folder_of(Path(self.name)).name

    def __str__(self) -> str:
        return f"frames {self.first} on" if self.end is None else f"frames {self.first} to {self.end - 1}"


class Divided(WarpedDiffusionError):
    """A clip is to be restored in these parts, and then as a whole, which joins them."""

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self.parts = parts
        super().__init__(f"to be restored in {len(parts)} parts")


def noted(journal: Journal) -> tuple[Part, ...]:
    """The parts of the clip that the journal is of; none if it is in one piece."""
    return tuple(Part(**{**told, "cuts": tuple(told["cuts"])}) for told in journal.parts)


def divide(footage: Footage, journal: Journal) -> tuple[Part, ...]:
    """The parts that the clip is to be restored in, noted in its journal; none where it has to stay in one piece.

    That is where there is one shot, where a mask is tracked through all of them, and where it was begun so.
    """
    if journal.parts or not journal.is_empty or footage.masks.track:
        return noted(journal)
    with ExitStack() as stack:
        parts = find_parts(footage, footage.open(stack))
    if len(parts) > 1:
        journal.divide([asdict(part) for part in parts])
        return parts
    return ()


def find_parts(footage: Footage, video: MaskedVideo, most: int = MOST) -> tuple[Part, ...]:
    """The clip's parts, at most so many, by the cuts that its restoration would find."""
    known = check_cuts(footage.options.cuts)
    if known is not None and not known:
        return ()
    detector = CutDetector() if known is None else None
    cuts, count = [], 0
    for count, picture in enumerate(_pictures(video, footage.options), 1):
        if detector.advance(picture) if detector is not None else count - 1 in (known or ()):
            cuts.append(count - 1)
    start, stop = video.reader.start, footage.bounds[1]
    return tuple(_grouped(start, [start + cut for cut in cuts], stop, -(-count // most)))


def restore_part(footage: Footage, target: Path, part: Part, kept: Kept, progress: Progress = lambda _: None) -> int:
    """Restore a part of the clip into its journal, and say how many frames it has.

    Args:
        target: of the clip.
        kept: told of the part's journal whenever something new is safely in it.
    Raises: as `restore_video`.
    """
    folder = folder_of(target)
    folder.mkdir(mode=0o700, exist_ok=True)
    with Interrupts() as interrupts:
        return sum(1 for _ in _frames(footage, folder, part, kept, progress, interrupts))


def joined(
    footage: Footage, journal: Journal, kept: Kept, progress: Progress, stop: Callable[[], bool]
) -> Iterator[Tensor]:
    """The clip's restored frames from the journals of its parts; what they lack is restored."""
    read_through(footage.video)
    for part in noted(journal):
        yield from _frames(footage, journal.folder, part, lambda _: kept(journal.folder), progress, stop)


def _frames(
    footage: Footage, folder: Path, part: Part, kept: Kept, progress: Progress, stop: Callable[[], bool]
) -> Iterator[Tensor]:
    """A part's restored frames, all of which are in its journal in the end."""
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(folder / part.name, kept))
        journal.open({**footage.settings, "part": _plain(part)})
        track = journal.track("restored", footage.bits)
        if track.done:
            progress(track.count * footage.options.steps)
            yield from track.frames()
        else:
            own, video = _of(footage.options, part), footage.open(stack, (part.first, part.end))
            try:
                yield from restore_masked(video, own, progress, track, stop)
            except NotFiniteError as error:
                raise NotFiniteError(part.first - footage.video.reader.start + error.frame) from error
        journal.leave()


def _of(options: Options, part: Part) -> Options:
    """As `footage.options`, of the part alone."""
    return replace(options, shot=options.shot + part.shot, cuts=tuple(cut - part.first for cut in part.cuts))


def _plain(part: Part) -> dict[str, Any]:
    return {**asdict(part), "cuts": list(part.cuts)}


def _grouped(first: int, cuts: list[int], stop: int | None, least: int) -> Iterator[Part]:
    """Parts of at least so many frames, but for the last one."""
    number, inner = 0, []  # type: int, list[int]
    for shot, cut in enumerate(cuts, 1):
        if cut - first < least:
            inner.append(cut)
            continue
        yield Part(first, cut, number, tuple(inner))
        first, number, inner = cut, shot, []
    yield Part(first, stop, number, tuple(inner))


def _pictures(video: MaskedVideo, options: Options) -> Iterator[Tensor]:
    """The frames as the search for cuts sees them in a restoration."""
    task, device = make_task(str(options.task), options.scale, options.blur), choose_device(options.device)
    if video.masks is None or not task.takes_mask:
        yield from video.frames
        return
    holes = Holes(video.masks, video.size, 0, options.rim[1])
    for index, frame in enumerate(video.frames):
        hole = holes.take(index)
        batch = task.condition(frame[None].to(device), missing(hole, device))
        yield Restoration.seen(frame, hole, {name: value[0] for name, value in batch.items()}).picture
