"""Many clips: each restored by itself, whatever becomes of the others, and what became of all of them."""

import json
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from warped_diffusion.errors import Stopped, UserError, WarpedDiffusionError
from warped_diffusion.fingerprints import ROUNDING, Settings, content, described
from warped_diffusion.finished import is_finished, mark
from warped_diffusion.masked_video import MaskSource
from warped_diffusion.options import settled
from warped_diffusion.restore_video import restore_video
from warped_diffusion.storage import append, at_hand, place
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
    """One of a batch: the degraded clip, and where the restored one goes."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a clip.

    Attributes:
        state: a name in `CODES`.
        frames, seconds: written and spent.
        note: a warning, or why it is not restored.
        details: of a fault of ours, the traceback.
    """

    clip: Clip
    state: str
    frames: int = 0
    seconds: float = 0.0
    note: str = ""
    details: str = ""

    @property
    def sentence(self) -> str:
        return f"{self.clip.source.name}: {self.state}" + (f", {self.note}" if self.note else "")


Runner = Callable[[Callable[[Clip], Outcome], Sequence[Clip]], Iterator[Outcome]]
"""Does the work on every clip, here or elsewhere, and yields the outcomes as they come. What it is given can be pickled
for another process or machine; a worker that dies is for it to make an outcome of."""


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

    Args:
        folder: for the results; made if it is not there.
        keywords: of `restore_video`, for all of them.
        run: what does the work.
    Raises: UserError before the first clip, for what concerns all of them.
    """
    folder = place(folder) if isinstance(folder, str) else folder
    append(folder / LOG, "")
    for outcome in run(partial(restore_clip, keywords=keywords, how=_how(keywords)), clips):
        told = asdict(outcome) | {"clip": str(outcome.clip.source), "output": str(outcome.clip.target)}
        append(folder / LOG, json.dumps({"time": time.strftime("%FT%T%z"), **told}) + "\n")
        yield outcome


def restore_clip(clip: Clip, keywords: Mapping[str, Any], how: Settings) -> Outcome:
    """Restore one clip, unless it is finished; whatever happens becomes an outcome."""
    started = time.perf_counter()

    def outcome(state: str, note: str = "", frames: int = 0, details: str = "") -> Outcome:
        return Outcome(clip, state, frames, round(time.perf_counter() - started, 2), note, details)

    try:
        how = {**how, "input": content(clip.source)}
        if is_finished(clip.target, how, keywords.get("overwrite", False)):
            return outcome("finished before")
        with at_hand(clip.source, clip.target) as (source, target, kept):
            result = restore_video(source, target, kept=kept, **keywords)
        mark(clip.target, how)
        return outcome("restored", result.warning or "", result.frames)
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
    return Outcome(clip, "failed", note=f"its process {how}: give fewer --jobs if memory was short")


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
    tracked = keywords.get("track_mask", False)
    masks = MaskSource(keywords.get("mask"), keywords.get("mask_box"), tracked, keywords.get("pad"))
    how = described(settled(keywords["options"]), keywords.get("bounds", (None, None)), masks)
    rate = keywords.get("frame_rate")
    how |= {"codec": keywords.get("codec"), "quality": keywords.get("quality", VISUALLY_LOSSLESS)}
    how |= {"frame-rate": None if rate is None else str(rate)}
    return {name: value for name, value in how.items() if name not in ROUNDING}


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
