"""How steady is a restored clip, and what does that cost? A still moved by known motion, restored in several ways.

The motion is given to the restoration exactly, so that flow plays no part: noise and guidance are judged.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from warped_diffusion.bench.harness import Cell, Options, Report, benchmark, measure
from warped_diffusion.bench.stills import NONE, TRUE, WARP_ONLY, Effort, draw_frames, mean, pooled_psnr
from warped_diffusion.bench.ways import Way, settings
from warped_diffusion.diffusion import DenoisedGuidance, NetworkGuidance, make_guidance
from warped_diffusion.errors import UserError
from warped_diffusion.evaluate.moved import MakeMotion, middle_clip, still, warp_only
from warped_diffusion.flow import Motion
from warped_diffusion.metrics import high_frequency_energy, newly_exposed, psnr, warping_error
from warped_diffusion.models import Model, load_model
from warped_diffusion.options import Options as Settings
from warped_diffusion.restore import restore_stream
from warped_diffusion.tasks import degrade

TASK = "super-resolution"

MOTIONS: Mapping[str, MakeMotion] = {
    "shift (1.37, 0.61) px": lambda frames, size: Motion.analytic(frames, size, shift=(1.37, 0.61)),
    "turn 1°, zoom 0.995": lambda frames, size: Motion.analytic(frames, size, rotation=1.0, zoom=0.995),
}
"""What happens to the still from each frame to the next. Zooming in by 1.01 would halve the true clip's own detail
within 16 frames, and hide what the restoration does to it."""


RESAMPLED, DEFAULT = "resampled", "default"

WAYS: Mapping[str, Way] = {
    NONE: Way(),
    RESAMPLED: Way(noise="resample"),
    "network, as printed": Way(guidance=NetworkGuidance(variant="literal", kernel="bilinear")),
    "denoised, bilinear": Way(guidance=DenoisedGuidance(kernel="bilinear")),
    "denoised, previous only": Way(guidance=DenoisedGuidance(anchors={"previous": 1.0})),
    "denoised, key only": Way(guidance=DenoisedGuidance(anchors={"key": 1.0})),
    DEFAULT: Way(guidance=make_guidance(str(Settings().guidance))),
}


@dataclass(frozen=True)
class TimedEffort(Effort):
    """The same with what is timed.

    Attributes:
        draws: several, as one sample may be smooth, and another so rich in what no turned pixel grid can hold that the
            first-frame error doubles.
        timed_frames, timed_steps: of the shorter restoration that is timed again and again.
    """

    draws: int = 4
    timed_frames: int = 8
    timed_steps: int = 10


@dataclass(frozen=True, eq=False)
class Case:
    """A clip (N, 3, H, W) in [0, 1] of which everything is known, and what is left of it.

    `exposed` (N, H, W) says which pixels of a frame the first frame did not show.
    """

    truth: Tensor
    degraded: Tensor
    motion: Motion
    exposed: Tensor = field(init=False)

    def __post_init__(self) -> None:
        exposed = [newly_exposed(self.motion, j) for j in range(self.motion.frames)]
        object.__setattr__(self, "exposed", torch.stack(exposed))

    def beginning(self, frames: int) -> "Case":
        """Its first frames alone."""
        pairs, whole = slice(frames - 1), self.motion
        motion = Motion(whole.forward[pairs], whole.backward[pairs], whole.visible[pairs], whole.known[pairs])
        return Case(self.truth[:frames], self.degraded[:frames], motion)


@dataclass(frozen=True)
class Figures:
    """A restored clip, measured: warping errors in squared units of [0, 1], `psnr` and `exposed` in dB."""

    to_first: float
    to_previous: float
    psnr: float
    detail_first: float
    detail_last: float
    exposed: float

    @property
    def detail_ratio(self) -> float:
        """High-frequency energy of the last frame over the first frame's."""
        return self.detail_last / self.detail_first


@benchmark("steadiness")
def steadiness(options: Options) -> Report:
    """Compare guidances on a still from the shipped clip; `options.out` gets the last frames beside the report.

    Raises: UserError if there is no such model or it cannot do the scale or the spectrum.
    """
    return compare(options, TimedEffort(), still(TimedEffort().size))


def compare(options: Options, effort: TimedEffort, picture: Tensor) -> Report:
    """The benchmark at any effort, on any picture that is `MARGIN` larger than the clip on each side."""
    model = load_model(options.model, TASK, torch.device(options.device))
    cases = {name: make_case(picture, effort, options.scale, motion) for name, motion in MOTIONS.items()}
    found: dict[str, dict[str, list[Figures]]] = {name: {} for name in cases}
    shown: dict[str, dict[str, Tensor]] = {}
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("restoring", total=len(cases) * len(WAYS) * effort.draws * effort.frames * effort.steps)

        def tick(count: int) -> None:
            progress.advance(bar, count)

        for draw in range(effort.draws):
            seeded = replace(options, seed=options.seed + draw)
            for name, case in cases.items():
                clips = {label: run(case, way, model, seeded, effort, tick) for label, way in WAYS.items()}
                clips |= {WARP_ONLY: warp_only(clips[NONE][0], case.motion), TRUE: case.truth}
                shown.setdefault(name, clips)
                for label, clip in clips.items():
                    found[name].setdefault(label, []).append(measured(clip, case))
    figures = {name: {label: mean(draws) for label, draws in of.items()} for name, of in found.items()}
    costs = timed(next(iter(cases.values())), model, options, effort)
    if options.out is not None:
        draw_frames(options.out, "steadiness", shown, effort.frames)
    table = [row for motion, of_motion in figures.items() for row in rows(motion, of_motion, costs)]
    return Report("steadiness", COLUMNS, table, notes(figures, costs, cases, options, effort))


def make_case(picture: Tensor, effort: Effort, scale: int, motion: MakeMotion) -> Case:
    """The clip that a motion makes of a picture, its middle, and what is left of that."""
    height, width = effort.size
    if height % scale or width % scale:
        raise UserError(f"a clip of {width}x{height} cannot be reduced {scale} times: use a scale that divides both")
    truth = middle_clip(picture, motion, effort.frames, effort.size)
    return Case(truth, degrade(truth, TASK, scale), motion(effort.frames, effort.size))


def run(
    case: Case,
    way: Way,
    model: Model,
    options: Options,
    effort: Effort,
    tick: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """The restored clip: (N, 3, H, W) in [0, 1]."""
    asked = settings(TASK, way, model, options, effort, options.scale)
    return torch.stack(list(restore_stream(case.degraded, asked, case.motion, tick)))


def measured(clip: Tensor, case: Case) -> Figures:
    """All figures of one clip."""
    detail = high_frequency_energy(clip)
    return Figures(
        to_first=float(warping_error(clip, case.motion, "first", per_frame=True)[-1]),
        to_previous=float(warping_error(clip, case.motion, "previous")),
        psnr=float(psnr(clip, case.truth).mean()),
        detail_first=float(detail[0]),
        detail_last=float(detail[-1]),
        exposed=pooled_psnr(clip, case.truth, case.exposed),
    )


def timed(case: Case, model: Model, options: Options, effort: TimedEffort) -> dict[str, float]:
    """Seconds per frame and step of each way, all that a frame needs before its first step included."""
    case, short = case.beginning(effort.timed_frames), replace(effort, steps=effort.timed_steps)
    seconds = {}
    for name, way in WAYS.items():

        def once(way: Way = way) -> Tensor:
            return run(case, way, model, options, short)

        timing = measure(once, options.warmup, options.repeats, options.device)
        seconds[name] = timing.median / (len(case.truth) * effort.timed_steps)
    return seconds


COLUMNS = (
    "motion",
    "guidance",
    "error of last frame to first",
    "none / this",
    "error to previous",
    "PSNR, dB",
    "detail, first frame",
    "detail, last frame",
    "last / first",
    "PSNR, newly exposed, dB",
    "ms per frame and step",
    "cost / none",
)


def rows(motion: str, figures: Mapping[str, Figures], costs: Mapping[str, float]) -> list[list[Cell]]:
    """The table's part for one motion; clips that nothing was sampled for have no cost."""
    table: list[list[Cell]] = []
    for way, found in figures.items():
        errors = [found.to_first, figures[NONE].to_first / found.to_first, found.to_previous, found.psnr]
        detail = [found.detail_first, found.detail_last, found.detail_ratio]
        cost = [1000 * costs[way], costs[way] / costs[NONE]] if way in costs else [None, None]
        table.append([motion, way, *errors, *detail, found.exposed, *cost])
    return table


def verdicts(figures: Mapping[str, Figures], costs: Mapping[str, float]) -> list[tuple[str, bool]]:
    """What is asked of the default under one motion: each bound with the figure found, and whether it holds."""
    default, none, resampled = (figures[way] for way in (DEFAULT, NONE, RESAMPLED))
    by_none, by_resampled = none.to_first / default.to_first, resampled.to_first / default.to_first
    by_truth = default.to_first / figures[TRUE].to_first
    loss, exposed_loss = none.psnr - default.psnr, none.exposed - default.exposed
    gain, cost = default.exposed - figures[WARP_ONLY].exposed, costs[DEFAULT] / costs[NONE]
    return [
        (
            f"error of the last frame to the first 1/{by_none:.1f} of none (at most 1/15) and 1/{by_resampled:.1f} of "
            f"resampled (at most 1/40), or {by_truth:.1f} times the true clip's (at most 2)",
            (by_none >= 15 and by_resampled >= 40) or by_truth <= 2,
        ),
        (f"PSNR {-loss:+.2f} dB against none (at least −0.3)", loss <= 0.3),
        (
            f"high-frequency energy of the last frame {default.detail_ratio:.2f} of the first's (0.75 to 1.25; "
            f"the true clip's {figures[TRUE].detail_ratio:.2f})",
            abs(default.detail_ratio - 1) <= 0.25,
        ),
        (
            f"newly exposed pixels {-exposed_loss:+.2f} dB against none (at least −0.3) and {gain:+.2f} dB against "
            "warp only (above 0)",
            exposed_loss <= 0.3 and gain > 0,
        ),
        (f"cost per step {cost:.2f} times unguided (at most 1.35)", cost <= 1.35),
    ]


def notes(
    figures: Mapping[str, Mapping[str, Figures]],
    costs: Mapping[str, float],
    cases: Mapping[str, Case],
    options: Options,
    effort: TimedEffort,
) -> list[str]:
    height, width = effort.size
    shares = (f"{case.exposed[-1].double().mean():.0%} ({name})" for name, case in cases.items())
    lines = [
        f"a still, {effort.frames} frames of {width}×{height}, reduced {options.scale} times, restored with the exact "
        f"motion in {effort.steps} {effort.solver} steps; noise: {options.spectrum or 'the model’s own spectrum'}",
        f"figures are means of {effort.draws} restorations, seeds from {options.seed} on; ratios are of means",
        "error: mean squared difference in [0, 1] over pixels seen all the way, read by a quintic spline; the true "
        "clip's own error on that ruler is its row",
        "detail: high-frequency energy, the mean square of a quarter of the Laplacian",
        "newly exposed: what the first frame did not show, of all frames together; of the last frame that is "
        + ", ".join(shares),
        "warp only: the first frame of “none”, warped by the spline; where it showed nothing, its edge pixel repeated",
        f"time: {effort.timed_frames} frames of {effort.timed_steps} steps in {effort.lanes} lanes, the preparation of "
        f"each frame included; median of {options.repeats} after {options.warmup} to warm up",
    ]
    for motion, of_motion in figures.items():
        lines += [
            f"default, {motion}: {text}: {'met' if met else 'NOT MET'}" for text, met in verdicts(of_motion, costs)
        ]
    return lines
