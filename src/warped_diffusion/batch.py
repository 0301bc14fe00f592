"""Many clips: each restored by itself, whatever becomes of the others, and what became of all of them."""

import json
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from warped_diffusion.errors import Stopped, UserError, WarpedDiffusionError
from warped_diffusion.fingerprints import ROUNDING, Settings, content, described
from warped_diffusion.finished import is_finished, mark
from warped_diffusion.footage import Footage
from warped_diffusion.masked_video import MaskSource
from warped_diffusion.options import settled
from warped_diffusion.parts import Divided, Part, restore_part
from warped_diffusion.restore_video import restore_video
from warped_diffusion.storage import append, at_hand, place
from warped_diffusion.video import USUAL
from warped_diffusion.video.encoding import KINDS, VISUALLY_LOSSLESS

CLIPS = (
    *(".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv"),
    *(".ts", ".vob", ".webm", ".wmv"),
)
"""Files of a folder that are taken for clips, by their ending; others are passed over."""

LOG = "restore-many.jsonl"

CODES = {"restored": 0, "finished before": 0, "refused": 2, "failed": 1, "stopped": 130}
"""What can become of a clip, and the exit code that stands for it."""


@dataclass(frozen=True)
class Clip:
    """One of a batch: the degraded clip, and where the restored one goes.

    Attributes:
        part: of the clip, all that is meant of it; its frames are kept in the clip's journal.
        apart: do not restore it, but say what its parts are; one that is in one piece is restored.
    """

    source: Path
    target: Path
    part: Part | None = None
    apart: bool = False

    @property
    def name(self) -> str:
        return self.source.name + (f", {self.part}" if self.part else "")


@dataclass(frozen=True)
class Outcome:
    """What became of a clip.

    Attributes:
        state: a name in `CODES`, or "divided" for a clip whose `parts` are to be restored before it.
        frames, seconds: written and spent.
        note: a warning, or why it is not restored.
        details: of a fault of ours, the traceback.
        lost: whether it cost its worker the life, for which it is not tried again.
    """

    clip: Clip
    state: str
    frames: int = 0
    seconds: float = 0.0
    note: str = ""
    details: str = ""
    parts: tuple[Clip, ...] = ()
    lost: bool = False

    @property
    def sentence(self) -> str:
        return f"{self.clip.name}: {self.state}" + (f", {self.note}" if self.note else "")

    @property
    def is_final(self) -> bool:
        """Whether it is what became of a whole clip."""
        return self.state != "divided" and self.clip.part is None


Runner = Callable[[Callable[[Clip], Outcome], Sequence[Clip]], Iterator[Outcome]]
"""Does the work on every clip, here or elsewhere, and yields the outcomes as they come. What it is given can be pickled
for another process or machine; a worker that dies is for it to make an outcome of. It may ask for clips to be divided,
by `apart`: see `Division`."""


class Division:
    """For a runner that asks for clips to be divided: what can be done next, once something is done."""

    def __init__(self) -> None:
        self._missing: dict[Clip, set[Clip]] = {}
        self._lost: dict[Clip, Outcome] = {}

    def after(self, outcome: Outcome) -> list[Clip]:
        """The parts of a clip that was divided, or the clip once none of its parts is missing.

        A part that was not restored is tried again by the clip, and what is wrong with it told as the clip's. One that
        was lost with its worker is not, since it would cost the clip's, too: the clip stays among the `unfinished`.
        """
        whole = replace(outcome.clip, part=None, apart=False)
        if outcome.state == "divided":
            self._missing[whole] = set(outcome.parts)
            return list(outcome.parts)
        if outcome.clip.part is None:
            self._missing.pop(whole, None)
            return []
        if outcome.lost:
            self._lost.setdefault(whole, outcome)
        elif outcome.state != "stopped":
            self._missing[whole].discard(outcome.clip)
        return [] if self._missing[whole] else [whole]

    def unfinished(self) -> list[Outcome]:
        """Of the clips that were divided and not joined, when nothing more is begun."""
        return [self._unfinished(whole) for whole in self._missing]

    def _unfinished(self, whole: Clip) -> Outcome:
        note = "the parts that are finished are kept: the same command goes on from there"
        if whole not in self._lost:
            return Outcome(whole, "stopped", note=note)
        lost = self._lost[whole]
        return Outcome(whole, "failed", note=f"{lost.clip.part}: {lost.note}; {note}", lost=True)


def in_turn(work: Callable[[Clip], Outcome], clips: Sequence[Clip]) -> Iterator[Outcome]:
    """The runner that does one after the other, in this process, until one is stopped."""
    for clip in clips:
        outcome = work(clip)
        yield outcome
        if outcome.state == "stopped":
            return


def clips_of(inputs: Iterable[Path], folder: Path) -> list[Clip]:
    """The clips that are meant, each once: files as they are, of folders those that end as clips do, by name.

    A restored clip keeps its name, but for an ending that cannot be written, which becomes .mkv.
    Raises: UserError for a folder without clips, an input that is not there, two clips whose results would have one
        name, and a result that would replace its input.
    """
    sources: dict[Path, Path] = {}
    for source in (file for given in inputs for file in _files(given)):
        kept = source.suffix.lower() in KINDS
        target = folder / (source.name if kept else f"{source.stem}.mkv")
        other = sources.setdefault(target, source)
        if other.absolute() != source.absolute():
            raise UserError(f"{other} and {source} would both be restored to {target}: give them in two calls")
        if target.exists() and _same(target, source):
            raise UserError(f"{target} is an input itself: give another folder for the restored clips")
    return [Clip(source, target) for target, source in sources.items()]


def restore_many(
    clips: Sequence[Clip], folder: str | Path, keywords: Mapping[str, Any], run: Runner = in_turn
) -> Iterator[Outcome]:
    """Restore clips that are not finished yet, and tell of each when it is; each also becomes a line of `LOG`.

    Where the runner divides clips, the same is told of their parts; the clip's seconds are then those of all of them.

    Args:
        folder: for the results; made if it is not there.
        keywords: of `restore_video`, for all of them.
        run: what does the work.
    Raises: UserError before the first clip, for what concerns all of them.
    """
    folder = place(folder) if isinstance(folder, str) else folder
    append(folder / LOG, "")
    spent: dict[Path, float] = {}
    for outcome in run(partial(restore_clip, keywords=keywords, how=_how(keywords)), clips):
        target = outcome.clip.target
        spent[target] = spent.get(target, 0.0) + outcome.seconds
        if outcome.is_final:
            outcome = replace(outcome, seconds=round(spent[target], 2))
        append(folder / LOG, json.dumps({"time": time.strftime("%FT%T%z"), **_told(outcome)}) + "\n")
        yield outcome


def restore_clip(clip: Clip, keywords: Mapping[str, Any], how: Settings) -> Outcome:
    """Restore one clip, or the part of it that is meant, unless it is finished; what happens becomes an outcome."""
    started = time.perf_counter()

    def outcome(state: str, note: str = "", frames: int = 0, details: str = "", parts: Sequence[Part] = ()) -> Outcome:
        divided = tuple(replace(clip, part=part, apart=False) for part in parts)
        return Outcome(clip, state, frames, round(time.perf_counter() - started, 2), note, details, divided)

    try:
        how = {**how, "input": content(clip.source)}
        if is_finished(clip.target, how, keywords.get("overwrite", False)):
            return outcome("finished before")
        if clip.part is not None:
            return outcome("restored", frames=_restore_part(clip, clip.part, keywords))
        with at_hand(clip.source, clip.target) as (source, target, kept):
            result = restore_video(source, target, kept=kept, apart=clip.apart, **keywords)
        mark(clip.target, how)
        return outcome("restored", result.warning or "", result.frames)
    except Divided as divided:
        return outcome("divided", f"into {len(divided.parts)} parts", parts=divided.parts)
    except UserError as error:
        return outcome("refused", str(error))
    except Stopped as stop:
        return outcome("stopped", str(stop))
    except KeyboardInterrupt:
        return outcome("stopped")
    except WarpedDiffusionError as error:
        return outcome("failed", str(error))
    except Exception as error:  # one clip's fault is not the others'; it is told in full
        return outcome("failed", f"{type(error).__name__}: {error}", details=traceback.format_exc())


def died(clip: Clip, how: str) -> Outcome:
    """Of a clip whose worker did not live to tell."""
    return Outcome(clip, "failed", note=f"its process {how}: give fewer --jobs if memory was short", lost=True)


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """0 if all are restored; else, of what went wrong, that of a stop, of a fault of ours, or of a refused clip."""
    codes = {CODES[outcome.state] for outcome in outcomes}
    return next((code for code in (130, 1, 2) if code in codes), 0)


def summary(outcomes: Iterable[Outcome]) -> str:
    """A Markdown table, a line for each clip, by name."""
    lines = ["| clip | | frames | seconds | |", "|---|---|---:|---:|---|"]
    for outcome in sorted(outcomes, key=lambda outcome: str(outcome.clip.source)):
        note = outcome.note.replace("|", "\\|").replace("\n", " ")
        frames = outcome.frames or ""
        lines.append(f"| {outcome.clip.source.name} | {outcome.state} | {frames} | {outcome.seconds:.1f} | {note} |")
    return "\n".join(lines)


def _how(keywords: Mapping[str, Any]) -> Settings:
    """All that restored clips depend on, but for the input, and for what changes them by rounding at most."""
    how = described(settled(keywords["options"]), keywords.get("bounds", (None, None)), _masks(keywords))
    rate = keywords.get("frame_rate")
    how |= {"codec": keywords.get("codec"), "quality": keywords.get("quality", VISUALLY_LOSSLESS)}
    how |= {"frame-rate": None if rate is None else str(rate)}
    return {name: value for name, value in how.items() if name not in ROUNDING}


def _masks(keywords: Mapping[str, Any]) -> MaskSource:
    tracked = keywords.get("track_mask", False)
    return MaskSource(keywords.get("mask"), keywords.get("mask_box"), tracked, keywords.get("pad"))


def _restore_part(clip: Clip, part: Part, keywords: Mapping[str, Any]) -> int:
    """The number of its frames."""
    bounds, limits = keywords.get("bounds", (None, None)), keywords.get("limits", USUAL)
    with at_hand(clip.source, clip.target, part.folder) as (source, target, kept), ExitStack() as stack:
        footage = Footage(
            *(source, settled(keywords["options"]), bounds, _masks(keywords), stack),
            *(keywords.get("frame_rate"), limits),
        )
        return restore_part(footage, target, part, kept, keywords.get("progress", lambda _: None))


def _told(outcome: Outcome) -> dict[str, Any]:
    """In JSON's terms, for `LOG`."""
    told, clip = asdict(replace(outcome, parts=())), outcome.clip
    del told["parts"]
    return told | {"clip": str(clip.source), "output": str(clip.target), "part": str(clip.part) if clip.part else None}


def _files(given: Path) -> list[Path]:
    if not given.is_dir():
        if not given.exists():
            raise UserError(f"{given} does not exist")
        return [given]
    try:
        found = [file for file in given.iterdir() if file.suffix.lower() in CLIPS and not file.name.startswith(".")]
    except OSError as error:
        raise UserError(f"{given} cannot be read: {error.strerror}") from error
    if not found:
        raise UserError(f"the folder {given} holds no clip: give one with files that end in {', '.join(CLIPS)}")
    return sorted(found, key=str)


def _same(one: Path, other: Path) -> bool:
    if isinstance(one, Path) and isinstance(other, Path):
        return one.samefile(other)
    return str(one) == str(other)
