"""How steady is a filled hole? A still moved by known motion, a hole that goes along with it, filled in several ways.

What the hole covers is never seen, so all of it is made up, and all that holds it together from frame to frame is noise
and guidance; the motion is given exactly.                                                          [paper, sec. 5.1]
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import isnan

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from warped_diffusion.bench.harness import Cell, Options, Report, benchmark
from warped_diffusion.bench.stills import NONE, TRUE, WARP_ONLY, Effort, draw_frames, mean, pooled_psnr
from warped_diffusion.bench.ways import Way, settings
from warped_diffusion.diffusion import NetworkGuidance, make_guidance
from warped_diffusion.evaluate.moved import MARGIN, MakeMotion, middle_clip, positions_in_first, still, warp_only
from warped_diffusion.flow import Motion
from warped_diffusion.masks import depth
from warped_diffusion.metrics import high_frequency_energy, newly_exposed, warping_error
from warped_diffusion.models import Model, load_model
from warped_diffusion.noise import SCHEMES
from warped_diffusion.options import Options as Settings
from warped_diffusion.restore import restore_stream
from warped_diffusion.tasks import degrade

TASK = "inpainting"

WARM_UP = "shift (2, 1) px"
MOTIONS: Mapping[str, MakeMotion] = {
    WARM_UP: lambda frames, size: Motion.analytic(frames, size, shift=(2.0, 1.0)),
    "shift (1.37, 0.61) px": lambda frames, size: Motion.analytic(frames, size, shift=(1.37, 0.61)),
    "turn 1°": lambda frames, size: Motion.analytic(frames, size, rotation=1.0),
    "zoom 0.99": lambda frames, size: Motion.analytic(frames, size, zoom=0.99),
}
"""What happens to the still from each frame to the next: the paper's warm-up, and motions between pixels. Within 16
frames of zooming in by 1.01 the true clip itself would lose two fifths of its detail in the hole."""

Label = tuple[str, str]
"""What a clip is called: its noise and its guidance; nothing and a name where nothing was sampled."""
DENOISED, PRINTED = "denoised", "network, as printed"
UNGUIDED, DEFAULT = ("gp", NONE), ("gp", DENOISED)

WAYS: Mapping[Label, Way] = (
    {(scheme, NONE): Way(scheme) for scheme in SCHEMES}
    | {("gp", PRINTED): Way(guidance=NetworkGuidance(variant="literal", kernel="bilinear"))}
    | {(scheme, DENOISED): Way(scheme, make_guidance(str(Settings().guidance))) for scheme in SCHEMES}
)
AFTER_WARM_UP = (UNGUIDED, ("resample", NONE), DEFAULT)
"""Those of `WAYS` that are tried on every motion; the warm-up has them all."""


@dataclass(frozen=True)
class Ellipse:
    """A hole: centre and half axes (across, down) in shares of the first frame's width and height."""

    centre: tuple[float, float]
    axes: tuple[float, float]

    def covers(self, positions: Tensor, size: tuple[int, int]) -> Tensor:
        """Which positions (..., 2), pixels of a first frame of `size`, lie in it: (...) boolean."""
        unit = positions.new_tensor([size[1], size[0]])
        offset = ((positions + 0.5) / unit - positions.new_tensor(self.centre)) / positions.new_tensor(self.axes)
        return offset.square().sum(-1) <= 1


HOLE = Ellipse((0.39, 0.42), (0.28, 0.28))
"""A quarter of the frame; under each of `MOTIONS` it stays in sight as a whole."""
ENTERING = Ellipse((-0.095, 0.42), (0.065, 0.14))
"""Left of the first frame, which shows nothing of it; either shift brings it in as a whole, with picture around it."""
RIM = 1.5
"""Pixels at a hole's edge that are not measured: between them the ruler would mix what is made up with what is not."""


@dataclass(frozen=True, eq=False)
class Case:
    """A clip (N, 3, H, W) in [0, 1] of which everything is known, and its holes.

    Attributes:
        masks: (N, 1, H, W), 1 in the holes.
        core: (N, H, W) boolean, the pixels of `HOLE` off its rim.
        exposed: (N, H, W) boolean, what is masked and was not shown by the first frame.
        degraded: the clip without what is in its holes.
        core_motion: the motion, its core alone visible.
    """

    truth: Tensor
    masks: Tensor
    core: Tensor
    motion: Motion
    exposed: Tensor = field(init=False)
    degraded: Tensor = field(init=False)
    core_motion: Motion = field(init=False)

    def __post_init__(self) -> None:
        exposed = torch.stack([newly_exposed(self.motion, j) for j in range(self.motion.frames)])
        object.__setattr__(self, "exposed", exposed & (self.masks[:, 0] > 0))
        object.__setattr__(self, "degraded", degrade(self.truth, TASK, mask=self.masks))
        object.__setattr__(
            self, "core_motion", replace(self.motion, visible=self.motion.visible * self.core[:-1].float())
        )


@dataclass(frozen=True)
class Figures:
    """A filled clip, measured in `HOLE` off its rim: warping errors in squared units of [0, 1], PSNR in dB.

    `frame_to_first` is of the whole frame; `exposed` is the PSNR of what is newly exposed, nan where nothing is.
    """

    to_first: float
    frame_to_first: float
    to_previous: float
    psnr: float
    detail_first: float
    detail_last: float
    exposed: float

    @property
    def detail_ratio(self) -> float:
        """High-frequency energy of the last frame over the first frame's."""
        return self.detail_last / self.detail_first


@benchmark("inpainting")
def inpainting(options: Options) -> Report:
    """Compare noise and guidance on holes in a still; `options.out` gets frames of every clip beside the report.

    Raises: UserError if there is no such model or it does not know the spectrum.
    """
    return compare(options, Effort(), still(Effort().size))


def compare(options: Options, effort: Effort, picture: Tensor) -> Report:
    """The benchmark at any effort, on any picture that is `MARGIN` larger than the clip on each side."""
    model = load_model(options.model, TASK, torch.device(options.device))
    cases = {name: make_case(picture, effort, name) for name in MOTIONS}
    found: dict[str, dict[Label, list[Figures]]] = {name: {} for name in cases}
    shown: dict[str, dict[str, Tensor]] = {}
    with Progress(console=Console(stderr=True)) as progress:
        restorations = effort.draws * sum(len(ways(name)) for name in cases)
        bar = progress.add_task("restoring", total=restorations * effort.frames * effort.steps)

        def tick(count: int) -> None:
            progress.advance(bar, count)

        for draw in range(effort.draws):
            seeded = replace(options, seed=options.seed + draw)
            for name, case in cases.items():
                clips = {label: run(case, way, model, seeded, effort, tick) for label, way in ways(name).items()}
                clips |= {("", WARP_ONLY): warped_first(clips[UNGUIDED][0], case), ("", TRUE): case.truth}
                shown.setdefault(name, {"input": case.degraded} | {named(label): clip for label, clip in clips.items()})
                for label, clip in clips.items():
                    found[name].setdefault(label, []).append(measured(clip, case))
    figures = {name: {label: mean(draws) for label, draws in of.items()} for name, of in found.items()}
    if options.out is not None:
        draw_frames(options.out, "inpainting", shown, effort.frames)
    table = [row for motion, of_motion in figures.items() for row in rows(motion, of_motion)]
    return Report("inpainting", COLUMNS, table, notes(figures, cases, options, effort))


def ways(motion: str) -> Mapping[Label, Way]:
    """The ways in which a motion's clip is restored."""
    return WAYS if motion == WARM_UP else {label: WAYS[label] for label in AFTER_WARM_UP}


def named(label: Label) -> str:
    """The label in one piece."""
    return ", ".join(part for part in label if part)


def make_case(picture: Tensor, effort: Effort, motion: str) -> Case:
    """The clip that a motion makes of a picture, its middle, with holes that go along.

    Raises: UserError unless the picture is `MARGIN` larger than the clip on each side.
    """
    height, width = effort.size
    truth = middle_clip(picture, MOTIONS[motion], effort.frames, effort.size)
    # On the larger grid maps are exact beyond the frame as well, where the entering hole comes from.
    large = MOTIONS[motion](effort.frames, (height + 2 * MARGIN, width + 2 * MARGIN))
    middle = slice(MARGIN, -MARGIN)
    in_first = torch.stack([there[middle, middle] - MARGIN for there in positions_in_first(large)])
    hole, entering = (ellipse.covers(in_first, effort.size) for ellipse in (HOLE, ENTERING))
    masks = (hole | entering)[:, None].float()
    return Case(truth, masks, depth(hole) > RIM, MOTIONS[motion](effort.frames, effort.size))


def run(
    case: Case,
    way: Way,
    model: Model,
    options: Options,
    effort: Effort,
    tick: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """The restored clip: (N, 3, H, W) in [0, 1]."""
    asked = replace(settings(TASK, way, model, options, effort), dilate=0, feather=0)
    return torch.stack(list(restore_stream(case.degraded, asked, case.motion, tick, list(case.masks))))


def warped_first(first: Tensor, case: Case) -> Tensor:
    """The clip whose holes a restored first frame (3, H, W) fills by itself, see `warp_only`: (N, 3, H, W)."""
    return torch.where(case.masks > 0, warp_only(first, case.motion), case.truth)


def measured(clip: Tensor, case: Case) -> Figures:
    """All figures of one clip."""
    detail = high_frequency_energy(clip, case.core)
    return Figures(
        to_first=float(warping_error(clip, case.core_motion, "first", per_frame=True)[-1]),
        frame_to_first=float(warping_error(clip, case.motion, "first", per_frame=True)[-1]),
        to_previous=float(warping_error(clip, case.core_motion, "previous")),
        psnr=pooled_psnr(clip, case.truth, case.core),
        detail_first=float(detail[0]),
        detail_last=float(detail[-1]),
        exposed=pooled_psnr(clip, case.truth, case.exposed),
    )


COLUMNS = (
    "motion",
    "noise",
    "guidance",
    "error of last frame to first",
    "unguided gp / this",
    "the same over the frame",
    "error to previous",
    "PSNR, dB",
    "detail, first frame",
    "detail, last frame",
    "last / first",
    "PSNR, newly exposed, dB",
)


def rows(motion: str, figures: Mapping[Label, Figures]) -> list[list[Cell]]:
    """The table's part for one motion; clips that nothing was sampled for are not compared with one that was."""
    table: list[list[Cell]] = []
    for (noise, guidance), found in figures.items():
        ratio = figures[UNGUIDED].to_first / found.to_first if noise else None
        errors = [found.to_first, ratio, found.frame_to_first, found.to_previous, found.psnr]
        detail = [found.detail_first, found.detail_last, found.detail_ratio]
        exposed = None if isnan(found.exposed) else found.exposed
        table.append([motion, noise or None, guidance, *errors, *detail, exposed])
    return table


def warm_up_verdicts(figures: Mapping[Label, Figures]) -> list[tuple[str, bool]]:
    """What is asked under whole-pixel shifts: each bound with the figure found, and whether it holds."""
    default = figures[DEFAULT]
    errors = {scheme: figures[scheme, NONE].to_first for scheme in SCHEMES}
    unwarped = min(errors.pop("resample"), errors.pop("fixed"))
    warped = max(errors.values())
    gain = default.exposed - figures["", WARP_ONLY].exposed
    return [
        (
            f"error of the last frame to the first {default.to_first:.2g} with the default (at most 1e-6)",
            default.to_first <= 1e-6,
        ),
        (
            f"unguided, warped noise {warped:.2g} at most, fixed and resampled {unwarped:.2g} at least; default "
            f"{default.to_first:.2g} (this order)",
            unwarped > warped > default.to_first,
        ),
        (f"newly exposed pixels {gain:+.2f} dB against warp only (above 0)", gain > 0),
    ]


def verdicts(figures: Mapping[Label, Figures]) -> list[tuple[str, bool]]:
    """What is asked of the default under any other motion."""
    default, true, warped = figures[DEFAULT], figures["", TRUE], figures["", WARP_ONLY]
    by_none, by_truth = figures[UNGUIDED].to_first / default.to_first, default.to_first / true.to_first
    # A picture that is scaled has more or less detail by itself.
    expected = true.detail_ratio if abs(true.detail_ratio - 1) > 0.25 else 1.0
    return [
        (
            f"error of the last frame to the first 1/{by_none:.1f} of unguided (at most 1/15), or {by_truth:.1f} times "
            "the true clip's (at most 2)",
            by_none >= 15 or by_truth <= 2,
        ),
        (
            f"high-frequency energy of the last frame {default.detail_ratio:.2f} of the first's (0.75 to 1.25 times "
            f"{expected:.3g}; the true clip's {true.detail_ratio:.2f}, warp only's {warped.detail_ratio:.2f})",
            abs(default.detail_ratio / expected - 1) <= 0.25,
        ),
    ]


def notes(
    figures: Mapping[str, Mapping[Label, Figures]], cases: Mapping[str, Case], options: Options, effort: Effort
) -> list[str]:
    height, width = effort.size
    spectrum = options.spectrum or "the model’s own spectrum"
    share = cases[WARM_UP].core[0].double().mean()
    lines = [
        f"a still, {effort.frames} frames of {width}×{height}, filled in with the exact motion in {effort.steps} "
        f"{effort.solver} steps, masks neither grown nor feathered; noise: {spectrum}",
        f"figures are means of {effort.draws} restorations, seeds from {options.seed} on; ratios are of means",
        f"the hole: an ellipse, {share:.0%} of the first frame without its rim of a pixel, which goes along with the "
        "picture, so nothing of what it covers is ever seen; errors, PSNR and detail are of it, but for the error over "
        "the frame",
        "error: mean squared difference in [0, 1] over pixels seen all the way, read by a quintic spline; the true "
        "clip's own error on that ruler is its row",
        "detail: high-frequency energy, the mean square of a quarter of the Laplacian; zoomed out, the true clip gains "
        "a third of it by itself, and the bound is then about that gain",
        "newly exposed: a second, smaller ellipse, which the shifts bring in from the left (the turn and the zoom an "
        "edge of it), with picture around it that the first frame did not show either; of all frames together",
        "warp only: the holes filled from the first frame of unguided gp, warped by the spline; where it showed "
        "nothing, its edge pixel repeated",
    ]
    for motion, of_motion in figures.items():
        bounds = warm_up_verdicts(of_motion) if motion == WARM_UP else verdicts(of_motion)
        lines += [f"{motion}: {text}: {'met' if met else 'NOT MET'}" for text, met in bounds]
    return lines
