"""The work on one clip: it is degraded, restored in every way and measured; what fails is written down."""

import dataclasses
import functools
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.estimators import CutDetector, estimate_motion, fine_motion
from warped_diffusion.evaluate.clips import Clip, Source
from warped_diffusion.evaluate.measures import MEASURES, Context, FrameMeasure, SetMeasure
from warped_diffusion.evaluate.moved import positions_in_first
from warped_diffusion.evaluate.peers import PEERS
from warped_diffusion.evaluate.settings import JUDGE, Settings
from warped_diffusion.evaluate.store import (
    clip_folder,
    read_json,
    result_folder,
    to_bytes,
    to_frames,
    write_array,
    write_arrays,
    write_json,
)
from warped_diffusion.evaluate.ways import ORIGINAL, Way
from warped_diffusion.flow import Motion, carry
from warped_diffusion.masks import random_mask
from warped_diffusion.models import Model, load_model
from warped_diffusion.noise.seeds import keyed
from warped_diffusion.options import Options, choose_device
from warped_diffusion.restore import restore_stream
from warped_diffusion.tasks import SuperResolution

MASKS = 2**20
"""Key of the holes of clips that come without: they are a function of the clip's name."""
COVERED, DRAWN = 0.25, 16
"""Share of a clip that its holes are to cover, and how many are drawn to choose from: some shapes are next to nothing,
or move out of the picture."""
FOLLOWING = ("warp-only",)
"""Peers that look at the motion: finding it is part of what they take."""


class Piece(NamedTuple):
    """One restoration of a clip."""

    way: Way
    seed: int


Told = Callable[[Piece], None]
"""Called with each piece that is done or has failed."""


@dataclass(frozen=True, eq=False)
class Case:
    """A clip, what is left of it, and the motion by which its restorations are judged.

    All frames are as 8 bits hold them: those of the clip (N, 3, H, W), `degraded` (N, 3, h, w), and restored ones.
    """

    clip: Clip
    degraded: Tensor
    motion: Motion
    flow_source: str
    settings: Settings

    @functools.cached_property
    def found(self) -> tuple[Motion, float]:
        """The motion as whoever restores can know it, given, or estimated from the degraded frames; seconds it took."""
        if self.clip.motion is not None:
            return self.clip.motion, 0.0
        begun = time.perf_counter()
        size = self.clip.frames.shape[-2], self.clip.frames.shape[-1]
        motion = estimate_motion(self.degraded, size, self.settings.flow)
        return dataclasses.replace(motion, cuts=cuts_of(self.degraded)), time.perf_counter() - begun


def pieces(ways: Sequence[Way], seeds: int) -> list[Piece]:
    """Every way with every seed from 0 up; peers draw nothing, and have one."""
    return [Piece(way, seed) for way in ways for seed in range(1 if way.is_peer else seeds)]


def unfinished(out: Path, clip: str, wanted: Sequence[Piece]) -> list[Piece]:
    """Those that have no result, a failed one, or one without a measure that can be had by now."""
    here = {name for name, measure in MEASURES.items() if measure.missing(None) is None}

    def open_(piece: Piece) -> bool:
        result = read_json(result_folder(out, clip, piece.way.slug, piece.seed) / "result.json")
        if result is None or "error" in result:
            return True
        # What this way or clip lacks, and not the machine, will not come by itself.
        return bool(here - {*result["measures"], *result["features"], *result["lacking"]})

    return [piece for piece in wanted if open_(piece)]


def work(
    source: Source, settings: Settings, todo: Sequence[Piece], out: Path, told: Told, opened: Callable[[], None]
) -> None:
    """Restore and measure a clip in these ways. Whatever fails becomes a sentence in the clip's folder.

    Args:
        told: called after each piece.
        opened: called once the clip could be read.
    """
    try:
        case = prepare(source.read(), settings)
        keep(case, out)
    except Exception as error:
        write_json(clip_folder(out, source.name) / "clip.json", {"name": source.name, "error": sentence(error)})
        for piece in todo:
            told(piece)
        return
    opened()
    for piece in todo:
        try:
            complete(case, piece, out)
        except Exception as error:
            failed(out, source.name, piece, sentence(error))
        told(piece)


def sentence(error: BaseException) -> str:
    """What a report says of an error: a user's as it is, others with their kind."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def failed(out: Path, clip: str, piece: Piece, why: str) -> None:
    """Write down that a piece has failed."""
    folder = result_folder(out, clip, piece.way.slug, piece.seed)
    write_json(folder / "result.json", {**_header(clip, piece), "error": why})


def prepare(clip: Clip, settings: Settings) -> Case:
    """The clip as 8 bits hold it, degraded by the task, and the motion that judges.

    Raises: UserError if the task cannot degrade it to whole pixels.
    """
    task = settings.degradation
    clip = dataclasses.replace(clip, frames=to_frames(to_bytes(clip.frames)))
    if task.takes_mask and clip.mask is None:
        clip = dataclasses.replace(clip, mask=draw_mask(clip))
    height, width = clip.frames.shape[-2:]
    if isinstance(task, SuperResolution) and (height % task.scale or width % task.scale):
        raise UserError(
            f"{clip.name} is {width}x{height}, not to be reduced {task.scale} times: give a --size that is a multiple"
        )
    degraded = to_frames(to_bytes(task.degrade(clip.frames, clip.mask)))
    if clip.motion is not None:
        return Case(clip, degraded, clip.motion, "known", settings)
    motion = dataclasses.replace(fine_motion(clip.frames), cuts=cuts_of(clip.frames))
    return Case(clip, degraded, motion, JUDGE, settings)


def cuts_of(frames: Tensor) -> tuple[int, ...]:
    """The first frames of new shots."""
    detector = CutDetector()
    return tuple(index for index, frame in enumerate(frames) if detector.advance(frame))


def draw_mask(clip: Clip) -> Tensor:
    """Holes (N, 1, H, W) of a random shape, as models are trained with, a function of the clip's name and motion.

    They go along with a motion that is known; else they stay where they are on the screen. Of `DRAWN` it is the one
    that covers most nearly `COVERED` of the clip.
    """
    generator = keyed((MASKS, zlib.crc32(clip.name.encode())))
    size = (clip.frames.shape[-2], clip.frames.shape[-1])
    drawn = [_along(random_mask(size, generator, whole=0), clip) for _ in range(DRAWN)]
    return min(drawn, key=lambda mask: abs(float(mask.mean()) - COVERED))


def _along(mask: Tensor, clip: Clip) -> Tensor:
    """The mask (1, H, W) of the first frame in every frame, (N, 1, H, W)."""
    if clip.motion is None:
        return mask.expand(len(clip.frames), -1, -1, -1).clone()
    return torch.stack([(carry(mask, there[None]) > 0.5).float() for there in positions_in_first(clip.motion)])


def keep(case: Case, out: Path) -> None:
    """Write what was degraded and to what.   Raises: UserError if the folder has another clip of that name."""
    folder, clip = clip_folder(out, case.clip.name), case.clip
    truth = to_bytes(clip.frames)
    arrays = {"truth": truth, "input": to_bytes(case.degraded)}
    if clip.mask is not None:
        arrays["mask"] = clip.mask[:, 0].bool().numpy()
    for name, array in arrays.items():
        path = folder / f"{name}.npy"
        if path.is_file() and not np.array_equal(np.load(path), array):
            raise UserError(f"{path} is of another clip that was called {clip.name}: rename one, or give another --out")
        if not path.is_file():
            write_array(path, array)
    about = {
        "name": clip.name,
        "caption": clip.caption,
        "frames": len(truth),
        "size": list(truth.shape[1:3]),
        "input_size": list(case.degraded.shape[-2:]),
        "flow": case.flow_source,
        "cuts": list(case.motion.cuts),
    }
    write_json(folder / "clip.json", about)


def complete(case: Case, piece: Piece, out: Path) -> None:
    """Restore the clip unless that was done before, measure what was restored, and write down the result."""
    folder = result_folder(out, case.clip.name, piece.way.slug, piece.seed)
    path, timing = folder / "restored.npy", folder / "timing.json"
    if not path.is_file():
        frames, seconds = restored(case, piece)
        write_json(timing, {"seconds_per_frame": seconds / len(frames)})
        write_array(path, to_bytes(frames))
    frames = to_frames(np.load(path))
    model = None if piece.way.is_peer else the_model(piece.way.model, case.settings)
    latents = model.codec.encode if model is not None and model.codec is not None else None
    clip = case.clip
    context = Context(clip.frames, case.degraded, case.motion, case.flow_source, clip.caption, clip.mask, latents)
    missing = {name: why for name, measure in MEASURES.items() if (why := measure.missing(context)) is not None}
    result = {
        **_header(clip.name, piece),
        "spectrum": None if model is None else piece.way.spectrum or model.preferred or model.spectra[0],
        "seconds_per_frame": (read_json(timing) or {}).get("seconds_per_frame"),
        "frames": len(frames),
        "measures": dict(_measured(frames, context, missing)),
        "features": [name for name in MEASURES if name not in missing and isinstance(MEASURES[name], SetMeasure)],
        "missing": missing,
        "lacking": [name for name in missing if MEASURES[name].missing(None) is None],
        "flow": case.flow_source,
    }
    features = {
        f"{name}/{key}": array
        for name, measure in MEASURES.items()
        if name not in missing and isinstance(measure, SetMeasure)
        for key, array in measure.features(frames, context).items()
    }
    if features:
        write_arrays(folder / "features.npz", features)
    write_json(folder / "result.json", result)


def restored(case: Case, piece: Piece) -> tuple[Tensor, float]:
    """The restored clip (N, 3, H, W) in [0, 1], and the seconds that it took, flow and all.

    Raises: UserError if it is not of the clip's shape, or holds what is not a finite number.
    """
    frames, seconds = _by_peer(case, piece.way) if piece.way.is_peer else _sampled(case, piece)
    if frames.shape != case.clip.frames.shape:
        raise UserError(f"{piece.way.slug} gave {tuple(frames.shape)}, the clip is {tuple(case.clip.frames.shape)}")
    wrong = (~frames.isfinite()).flatten(1).any(1)
    if wrong.any():
        raise UserError(
            f"{piece.way.slug} gave what is not a finite number, in {int(wrong.sum())} of {len(frames)} frames, first "
            f"in frame {int(wrong.nonzero()[0])}: the model fails on this clip"
        )
    return frames, seconds


def _by_peer(case: Case, way: Way) -> tuple[Tensor, float]:
    if way.model == ORIGINAL:
        return case.clip.frames, 0.0
    motion, seconds = case.found
    begun = time.perf_counter()
    frames = PEERS[way.model](case.clip, case.degraded, case.settings.degradation, motion)
    return frames, time.perf_counter() - begun + (seconds if way.model in FOLLOWING else 0)


def _sampled(case: Case, piece: Piece) -> tuple[Tensor, float]:
    (way, seed), settings = piece, case.settings
    masked = case.clip.mask is not None
    options = Options(
        task=settings.task,
        scale=settings.scale,
        blur=settings.blur,
        model=the_model(way.model, settings),
        noise=way.noise,
        spectrum=way.spectrum,
        guidance=way.guidance,
        steps=way.steps or settings.steps or Options().steps,
        solver=settings.solver,
        flow=settings.flow,
        seed=seed,
        dilate=0 if masked else None,  # holes are where they are, and are judged as a whole
        feather=0 if masked else None,
    )
    masks = None if case.clip.mask is None else list(case.clip.mask)
    begun = time.perf_counter()
    frames = torch.stack(list(restore_stream(case.degraded, options, case.clip.motion, masks=masks)))
    return frames, time.perf_counter() - begun


@functools.lru_cache(maxsize=2)
def _loaded(model: str, task: str, scale: int | None) -> Model:
    return load_model(model, task, choose_device(None), scale=scale)


def the_model(name: str, settings: Settings) -> Model:
    """The model of that name, loaded once for all its clips."""
    task = settings.degradation
    return _loaded(name, settings.task, task.scale if isinstance(task, SuperResolution) else None)


def _measured(frames: Tensor, context: Context, missing: dict[str, str]) -> Iterator[tuple[str, list[float | None]]]:
    for name, measure in MEASURES.items():
        if name not in missing and isinstance(measure, FrameMeasure):
            values = measure.values(frames, context).double().tolist()
            yield name, [value if np.isfinite(value) else None for value in values]


def _header(clip: str, piece: Piece) -> dict[str, object]:
    return {"clip": clip, "way": dataclasses.asdict(piece.way), "slug": piece.way.slug, "seed": piece.seed}
