"""What comes of real clips, reduced and restored: steadiness along the flow of the original, and what it costs.

The restoration finds its flow by itself, from what it is given; the original's flow is the judge's alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import isnan
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from warped_diffusion.bench.harness import Cell, Options, Report, Table, benchmark
from warped_diffusion.bench.real_clips import Footage, RealClip, chosen, reduced
from warped_diffusion.bench.stills import pooled_psnr
from warped_diffusion.bench.ways import Way, settings
from warped_diffusion.diffusion import make_guidance
from warped_diffusion.errors import UserError
from warped_diffusion.estimators import fine_motion
from warped_diffusion.flow import Motion
from warped_diffusion.metrics import high_frequency_energy, newly_exposed, psnr, warping_error
from warped_diffusion.models import Model, load_model
from warped_diffusion.options import Options as Settings
from warped_diffusion.restore import restore_stream
from warped_diffusion.restore_video import Clock
from warped_diffusion.tasks import enlarge
from warped_diffusion.video import VideoWriter, film_strip, write_picture

TASK = "super-resolution"
ORIGINAL, BICUBIC, RESAMPLED, UNGUIDED, DEFAULT = "original", "bicubic", "resampled", "unguided", "default"

WAYS: Mapping[str, Way] = {
    RESAMPLED: Way(noise="resample"),
    UNGUIDED: Way(),
    DEFAULT: Way(Settings().noise, make_guidance(str(Settings().guidance))),
}


SHOWN = (0.0, 0.25, 0.5, 0.75)
"""Of a clip, which frames its picture shows: after so much of it."""


@dataclass(frozen=True)
class Effort:
    """How much is restored: what the table asks for, or less for a quick look.

    Attributes:
        frames: of each clip, at most.
        lanes: frames in one batch, the same for every way.
    """

    frames: int = 48
    factors: tuple[int, ...] = (4, 8)
    steps: int = Settings().steps
    solver: str = Settings().solver
    lanes: int | str = "auto"


@dataclass(frozen=True, eq=False)
class Case:
    """A real clip and what it is judged by.

    Attributes:
        motion: of the original, on its grid.
        exposed: (N, H, W) boolean, which pixels of a frame the first frame did not show.
    """

    footage: Footage
    motion: Motion = field(init=False)
    exposed: Tensor = field(init=False)

    def __post_init__(self) -> None:
        motion = fine_motion(self.footage.frames)
        object.__setattr__(self, "motion", motion)
        exposed = [newly_exposed(motion, j) for j in range(motion.frames)]
        object.__setattr__(self, "exposed", torch.stack(exposed))


@dataclass(frozen=True)
class Figures:
    """A clip, measured: warping errors in squared units of [0, 1], `psnr` and `exposed` in dB, means over frames.

    `exposed` is nan where nothing is newly exposed, `seconds` per frame None where nothing was restored.
    """

    to_previous: float
    to_first: float
    psnr: float
    detail: float
    exposed: float
    seconds: float | None = None


Found = Mapping[int | None, Mapping[str, Figures]]
"""Figures of one clip by factor and way; the original's own under None."""


@benchmark("clips")
def clips(options: Options) -> Report:
    """Restore `options.clip`, or the clip that ships; `options.out` gets all clips and a picture of them too.

    Raises: UserError if a clip cannot be used, or there is no such model or it does not know the spectrum.
    """
    return compare(options, Effort())


def compare(options: Options, effort: Effort) -> Report:
    """The benchmark at any effort."""
    model = load_model(options.model, TASK, torch.device(options.device))
    wanted = chosen(options.clip)
    most = effort.frames if options.frames is None else options.frames
    read = [clip.read(most) for clip in wanted]
    found: dict[str, Found] = {}
    shares: dict[str, float] = {}
    with Progress(console=Console(stderr=True)) as progress:
        evaluations = sum(len(footage.frames) for footage in read) * len(effort.factors) * len(WAYS) * effort.steps
        bar = progress.add_task("restoring", total=evaluations)

        def tick(count: int) -> None:
            progress.advance(bar, count)

        for clip, footage in zip(wanted, read, strict=True):
            case = Case(footage)
            shares[footage.name] = float(case.exposed[-1].double().mean())
            found[footage.name] = judged(clip, case, model, options, effort, tick)
    table = [row for name, of in found.items() for row in rows(name, of)]
    bounds = [row for name, of in found.items() for row in bound_rows(name, of)]
    more = {"Asked of the default": Table(BOUND_COLUMNS, bounds)}
    return Report("clips", COLUMNS, table, notes(read, shares, options, effort), more=more)


def judged(
    clip: RealClip, case: Case, model: Model, options: Options, effort: Effort, tick: Callable[[int], None]
) -> Found:
    """All figures of one clip; what was restored is written into `options.out`, if that is a folder."""
    truth, rate = case.footage.frames, case.footage.frame_rate
    size = (truth.shape[-2], truth.shape[-1])
    found: dict[int | None, dict[str, Figures]] = {None: {ORIGINAL: measured(truth, case)}}

    def keep(restored: Tensor, *labels: object) -> None:
        if options.out is not None:
            write(options.out / f"{'-'.join(map(str, (clip.stem, *labels)))}.mp4", restored, rate)

    keep(truth, ORIGINAL)
    for factor in effort.factors:
        low = reduced(truth, factor)
        shown = {BICUBIC: enlarge(low, size).clamp(0, 1)}
        found[factor] = {BICUBIC: measured(shown[BICUBIC], case)}
        for label, way in WAYS.items():
            shown[label], seconds = run(low, factor, way, model, options, effort, tick)
            found[factor][label] = measured(shown[label], case, seconds)
        for label, made in shown.items():
            keep(made, factor, label)
        if options.out is not None:
            draw(options.out / f"{clip.stem}-{factor}.png", shown | {ORIGINAL: truth})
    return found


def draw(path: Path, clips: Mapping[str, Tensor]) -> None:
    """Frames along each clip (N, 3, H, W), side by side, one row for a clip."""
    count = len(next(iter(clips.values())))
    chosen = [round((count - 1) * share) for share in SHOWN]
    rows = [[made[j] for j in chosen] for made in clips.values()]
    write_picture(path, film_strip(rows, list(clips), [f"frame {j}" for j in chosen]))


def run(
    low: Tensor,
    factor: int,
    way: Way,
    model: Model,
    options: Options,
    effort: Effort,
    tick: Callable[[int], None] = lambda _: None,
) -> tuple[Tensor, float]:
    """The restored clip (N, 3, H, W) in [0, 1], and the seconds that a frame took."""
    asked = settings(TASK, way, model, options, effort, factor)
    clock = Clock(restore_stream(low, asked, progress=tick))
    restored = torch.stack(list(clock))
    return restored, clock.seconds / len(low)


def measured(clip: Tensor, case: Case, seconds: float | None = None) -> Figures:
    """All figures of one clip; a frame that only repeats the one before it counts for no error to the previous one."""
    truth = case.footage.frames
    steps = warping_error(clip, case.motion, "previous", per_frame=True)
    return Figures(
        to_previous=float(steps[case.footage.moving].nanmean()),
        to_first=float(warping_error(clip, case.motion, "first")),
        psnr=float(psnr(clip, truth).mean()),
        detail=float(high_frequency_energy(clip).mean()),
        exposed=pooled_psnr(clip, truth, case.exposed),
        seconds=seconds,
    )


def write(path: Path, clip: Tensor, frame_rate: Fraction) -> None:
    """The clip as a file, over one that is there.   Raises: UserError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {path.parent}: {error.strerror}") from error
    size = (clip.shape[-2], clip.shape[-1])
    with VideoWriter(path, size=size, frame_rate=frame_rate, overwrite=True) as writer:
        for frame in clip:
            writer.write(frame)


COLUMNS = (
    "clip",
    "factor",
    "restored",
    "error to previous",
    "error to first",
    "PSNR, dB",
    "detail",
    "PSNR, newly exposed, dB",
    "s per frame",
)
BOUND_COLUMNS = ("clip", "factor", "measure", "found", "accepted", "met")


def rows(name: str, found: Found) -> list[list[Cell]]:
    """The table's part for one clip."""
    table: list[list[Cell]] = []
    for factor, of in found.items():
        for label, figures in of.items():
            errors = [figures.to_previous, figures.to_first, figures.psnr, figures.detail]
            exposed = None if isnan(figures.exposed) else figures.exposed
            table.append([name, factor and f"{factor}×", label, *errors, exposed, figures.seconds])
    return table


def verdicts(figures: Mapping[str, Figures]) -> list[tuple[str, float, str, bool]]:
    """What is asked of the default at one factor: measure, what was found, what is accepted, whether it is met."""
    default, unguided, resampled = (figures[way] for way in (DEFAULT, UNGUIDED, RESAMPLED))
    by_resampled, by_unguided = (default.to_previous / other.to_previous for other in (resampled, unguided))
    gain, detail = default.psnr - resampled.psnr, default.detail / resampled.detail
    return [
        ("error to previous / resampled", by_resampled, "at most 0.5", by_resampled <= 0.5),
        ("error to previous / unguided", by_unguided, "at most 0.8", by_unguided <= 0.8),
        ("PSNR − resampled, dB", gain, "at least −0.2", gain >= -0.2),
        ("detail / resampled", detail, "0.75 to 1.25", abs(detail - 1) <= 0.25),
    ]


def bound_rows(name: str, found: Found) -> list[list[Cell]]:
    """The table of bounds, its part for one clip."""
    return [
        [name, f"{factor}×", measure, value, accepted, "yes" if met else "NO"]
        for factor, of in found.items()
        if factor is not None
        for measure, value, accepted, met in verdicts(of)
    ]


def notes(read: Sequence[Footage], shares: Mapping[str, float], options: Options, effort: Effort) -> list[str]:
    return [
        *map(str, read),
        f"inputs are area averages in 8 bits, restored with flow estimated from them in {effort.steps} {effort.solver} "
        f"steps, seed {options.seed}; noise: {options.spectrum or 'the model’s own spectrum'}",
        "resampled: every frame has noise of its own, no guidance; unguided: warped noise alone; default: and guidance",
        "error: mean squared difference in [0, 1] along the original's flow, over pixels that it shows in both frames, "
        "read by a quintic spline; mean over frames, those that only repeat the one before left out of the error to "
        "previous; the original's own is what the ruler and its flow leave",
        "that flow: DIS down to single pixels, 10 refinement iterations, median of 5×5; it has no part in restoring",
        "detail: high-frequency energy, the mean square of a quarter of the Laplacian",
        "newly exposed: what the first frame did not show by that flow, of all frames together; of the last frame that "
        "is " + ", ".join(f"{share:.0%} ({name})" for name, share in shares.items()),
        "s per frame: the whole restoration, its flow included, once",
    ]
