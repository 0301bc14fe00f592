"""Clips to evaluate on: files, folders of them with captions, folders of frames, and pictures moved in a known way."""

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.evaluate.moved import SAMPLE, MakeMotion, middle_clip, positions_in_first, still
from warped_diffusion.flow import Motion
from warped_diffusion.tasks import enlarge
from warped_diffusion.video import VideoReader, picture_files

VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".ts", ".avi", ".webm", ".mpg", ".mpeg")
"""Files of a folder that are taken for clips, by their ending."""
SAMPLE_NAME, SYNTHETIC = "sample", "synthetic"
FETV = "fetv_data.json"
"""FETV's list of clips: lines of {"video_id": ..., "prompt": ...}."""
DAVIS = "JPEGImages"
"""Where in DAVIS the frames lie; beside them are masks, which are no clips."""
MULTIPLE = 8
"""Of both sides where no size is asked for: each factor from 2 to 8 that is measured fills whole blocks."""
SMALLEST = 32
"""Pixels of the shorter side."""
FEWEST = 2
"""Frames: one alone has nothing to be steady with."""
REACH = 8
"""Pixels that a still is larger than all that its motion shows, on each side: as far as the ruler's spline looks."""

MOTIONS: Mapping[str, MakeMotion] = {
    "shift": lambda frames, size: Motion.analytic(frames, size, shift=(2.0, 1.0)),
    "subpixel": lambda frames, size: Motion.analytic(frames, size, shift=(1.37, 0.61)),
    "rotation": lambda frames, size: Motion.analytic(frames, size, rotation=1.0),
    "zoom": lambda frames, size: Motion.analytic(frames, size, zoom=0.99),
}
"""What happens to a picture from each frame to the next, pixels, degrees or a factor; whole pixels are the paper's
warm-up. Zooming in would take from the true clip's own detail."""


@dataclass(frozen=True, eq=False)
class Clip:
    """A good clip, which is to be degraded and restored.

    Attributes:
        name: unique, and safe as a folder's name.
        frames: (N, 3, H, W) in [0, 1].
        caption: what it shows, if anybody says.
        motion: of its frames on their own grid, where it is known exactly.
        mask: (N, 1, H, W), 1 where there are holes, for tasks that take a mask; else None.
    """

    name: str
    frames: Tensor
    caption: str = ""
    motion: Motion | None = None
    mask: Tensor | None = None


@dataclass(frozen=True)
class Source:
    """A clip that has been named and not yet been read.

    Attributes:
        read: gives the clip; raises UserError for a file that cannot be used.
    """

    name: str
    read: Callable[[], Clip]


def open_clips(
    source: str, frames: int = 16, size: int | None = None, motions: Sequence[str] = tuple(MOTIONS)
) -> list[Source]:
    """The clips that a source names, none of them read so far.

    Args:
        source: a video file; a folder of them, at any depth, with captions in its captions.json, {FILE: CAPTION}, or
            captions.csv, FILE,CAPTION; a folder that holds `fetv_data.json`; a folder of frames, or of such folders, as
            DAVIS has them; "sample", the clip that ships; or "synthetic:PICTURES:MOTION", pictures of a folder, moved,
            where both parts may be left out, for stills of the shipped clip and for all `motions`.
        frames: as many are taken from the beginning, or as many as there are.
        size: side, pixels: frames are made as small as they can be to hold such a square, and cut to it around their
            centre; None for their own size, cut to multiples of `MULTIPLE`.
        motions: names in `MOTIONS`.
    Raises: UserError for a source that holds no clip, a list of captions that cannot be read, or a number that cannot
        be used.
    """
    if frames < FEWEST:
        raise UserError(f"frames is {frames}: a clip has at least {FEWEST}")
    if size is not None and (size < SMALLEST or size % MULTIPLE):
        raise UserError(f"size is {size}: give a multiple of {MULTIPLE} pixels from {SMALLEST} up")
    if source == SAMPLE_NAME:
        return [_real(SAMPLE_NAME, SAMPLE, "", frames, size)]
    if source.partition(":")[0] == SYNTHETIC:
        return list(_synthetic(source, frames, size, motions))
    path = Path(source)
    if path.is_dir():
        found = _fetv(path) if (path / FETV).is_file() else _captioned(path)
        return [_real(name, place, caption, frames, size) for name, place, caption in found]
    if not path.is_file():
        raise UserError(f"{source} does not exist: give a video, a folder, {SAMPLE_NAME}, or {SYNTHETIC}:PICTURES")
    return [_real(safe_name(path.stem), path, "", frames, size)]


def all_clips(
    sources: Sequence[str], frames: int = 16, size: int | None = None, motions: Sequence[str] = tuple(MOTIONS)
) -> list[Source]:
    """The clips of several sources.   Raises: as `open_clips`; UserError if two have one name."""
    found = [clip for source in sources for clip in open_clips(source, frames, size, motions)]
    names = set[str]()
    for clip in found:
        if clip.name in names:
            raise UserError(f"two clips are called {clip.name}: give each once, and files of their own names")
        names.add(clip.name)
    return found


def safe_name(text: str) -> str:
    """The text as a folder may be called."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip(".") or "clip"


def read_frames(path: Path, frames: int, size: int | None) -> Tensor:
    """The beginning of a video, or of a folder of frames, cut as `open_clips` says: (N, 3, H, W) in [0, 1].

    Raises: UserError if it cannot be read, has fewer than `FEWEST` frames, frames of several sizes, or is too small.
    """
    kept = [framed(frame, size, path) for frame in islice(_pictures(path) if path.is_dir() else _video(path), frames)]
    if len(kept) < FEWEST:
        raise UserError(f"{path} holds {len(kept)} frame, at least {FEWEST} are needed")
    if len({frame.shape for frame in kept}) > 1:
        raise UserError(f"the frames of {path} differ in size: give a folder for each clip")
    return torch.stack(kept)


def framed(frame: Tensor, size: int | None, path: Path) -> Tensor:
    """A frame (3, h, w) made small and cut around its centre to (3, size, size), or to multiples of `MULTIPLE`.

    Raises: UserError if it is smaller than that: what is made larger is no original.
    """
    height, width = frame.shape[-2:]
    shorter = min(height, width)
    if shorter < (size or SMALLEST):
        raise UserError(f"{path} is {width}x{height}, smaller than {size or SMALLEST} pixels: give a smaller --size")
    if size is not None and shorter > size:
        height, width = (max(size, round(length * size / shorter)) for length in (height, width))
        frame = enlarge(frame[None], (height, width))[0].clamp(0, 1)  # its filter widens where it makes small
    tall, wide = (size or length // MULTIPLE * MULTIPLE for length in (height, width))
    top, left = (height - tall) // 2, (width - wide) // 2
    return frame[:, top : top + tall, left : left + wide].clone()


def read_captions(folder: Path) -> dict[str, str]:
    """The captions of a folder's captions.json or captions.csv, by file; empty where there is neither.

    Raises: UserError if the list cannot be read.
    """
    for name, parse in (("captions.json", _from_json), ("captions.csv", _from_csv)):
        path = folder / name
        if path.is_file():
            try:
                return parse(path)
            except (OSError, ValueError, TypeError, AttributeError) as error:
                raise UserError(
                    f"{path} is no list of captions ({error}): captions.json is "
                    '{"FILE": "CAPTION"}, a line of captions.csv is FILE,CAPTION'
                ) from error
    return {}


def _from_json(path: Path) -> dict[str, str]:
    return {str(file): str(caption) for file, caption in json.loads(path.read_text(encoding="utf-8")).items()}


def _from_csv(path: Path) -> dict[str, str]:
    with open(path, encoding="utf-8", newline="") as file:
        return dict(row for row in csv.reader(file) if row)


def _real(name: str, path: Path, caption: str, frames: int, size: int | None) -> Source:
    return Source(name, partial(_read, name, path, caption, frames, size))


def _read(name: str, path: Path, caption: str, frames: int, size: int | None) -> Clip:
    return Clip(name, read_frames(path, frames, size), caption)


def _video(path: Path) -> Iterator[Tensor]:
    with VideoReader(path) as reader:
        yield from reader


def _pictures(folder: Path) -> Iterator[Tensor]:
    for file in picture_files(folder):
        with VideoReader(file) as reader:
            yield next(reader)


def _captioned(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """(name, path, caption) of every video below a folder, and of every folder of frames."""
    captions = read_captions(folder)
    folder = folder / DAVIS if (folder / DAVIS).is_dir() else folder
    places = sorted(path for path in (folder, *folder.rglob("*")) if _is_clip(path))
    stems = [_below(folder, path.with_suffix("") if path.is_file() else path) for path in places]
    for path, stem in zip(places, stems, strict=True):
        relative = _below(folder, path)
        caption = captions.get(relative) or captions.get(path.name) or captions.get(stem, "")
        yield safe_name(relative if stems.count(stem) > 1 else stem), path, caption
    if not places:
        raise UserError(f"{folder} holds no clip: neither a video ({', '.join(VIDEOS)}) nor a folder of frames")


def _below(folder: Path, path: Path) -> str:
    return folder.name if path == folder else path.relative_to(folder).as_posix()


def _is_clip(path: Path) -> bool:
    if any(part.startswith(".") for part in path.parts[-1:]):
        return False
    return len(picture_files(path)) >= FEWEST if path.is_dir() else path.suffix.lower() in VIDEOS


def _fetv(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """(name, path, caption) of FETV's clips: files called by their `video_id`, or by the number of their line."""
    files = {path.stem: path for path in sorted(folder.rglob("*")) if path.suffix.lower() in VIDEOS}
    lines = (folder / FETV).read_text(encoding="utf-8").splitlines()
    found = 0
    for number, line in enumerate(text for text in lines if text.strip()):
        try:
            entry = json.loads(line)
            identity, prompt = str(entry["video_id"]), str(entry["prompt"])
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"line {number + 1} of {folder / FETV} has no video_id and prompt: {error}") from error
        path = files.get(identity) or files.get(str(number))
        if path is not None:  # those of "ours" have a prompt and no clip
            found += 1
            yield safe_name(identity if identity in files else str(number)), path, prompt
    if not found:
        raise UserError(f"{folder} holds no video named in its {FETV}: put them there as VIDEO_ID.mp4")


def _synthetic(source: str, frames: int, size: int | None, motions: Sequence[str]) -> Iterator[Source]:
    middle, _, last = source.partition(":")[2].rpartition(":")
    folder, motion = (middle, last) if last in MOTIONS else (f"{middle}:{last}" if middle else last, "")
    for name in (wanted := (motion,) if motion else motions):
        if name not in MOTIONS:
            raise UserError(f"motion {name!r} is not known: choose of {', '.join(MOTIONS)}")
    pictures = [*picture_files(Path(folder))] if folder.strip(":") else [None]
    if not pictures:
        raise UserError(f"{folder} holds no picture to move: give another folder, or {SYNTHETIC}::shift for a still")
    for picture in pictures:
        stem = "still" if picture is None else safe_name(picture.stem)
        for name in wanted:
            yield Source(f"{stem}-{name}", partial(_moved, f"{stem}-{name}", picture, name, frames, size or 128))


def _moved(name: str, picture: Path | None, motion: str, frames: int, size: int) -> Clip:
    shape = (size, size)
    known = MOTIONS[motion](frames, shape)
    margin = REACH + math.ceil(_excursion(known))
    if picture is None:
        large = still(shape, margin)
    else:
        with VideoReader(picture) as reader:
            frame = next(reader)
        length = size + 2 * margin
        shorter = min(frame.shape[-2:])
        if shorter < length:
            raise UserError(f"{picture} is smaller than the {length} pixels a side that {motion} shows of it")
        height, width = (max(length, round(side * length / shorter)) for side in frame.shape[-2:])
        small = enlarge(frame[None], (height, width))[0].clamp(0, 1)
        top, left = (height - length) // 2, (width - length) // 2
        large = small[:, top : top + length, left : left + length]
    return Clip(name, middle_clip(large, MOTIONS[motion], frames, shape, margin), motion=known)


def _excursion(motion: Motion) -> float:
    """How far beyond the first frame the others look, pixels."""
    height, width = motion.size
    limit = torch.tensor([width - 1.0, height - 1.0])
    beyond = [torch.maximum(-positions, positions - limit).max() for positions in positions_in_first(motion)]
    return max(0.0, float(torch.stack(beyond).max()))
