"""How far is flow off that is found on a reduced clip? Each estimator against the flow of the clip itself.

What is true of a real clip nobody knows: it is judged by flow on the original, found in three ways. The first of them
decides: on a still under a known motion, where truth is known and all three are judged as well, it is nearest to it.
"""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from warped_diffusion.bench.harness import Cell, Options, Report, Table, benchmark
from warped_diffusion.bench.real_clips import Footage, chosen, reduced
from warped_diffusion.errors import UserError
from warped_diffusion.estimators import ESTIMATORS, Estimator, estimate_pair, fine_flow
from warped_diffusion.estimators.dis import dis_flow
from warped_diffusion.estimators.raft import load_network
from warped_diffusion.estimators.refined import refined_flow
from warped_diffusion.evaluate.moved import middle_clip, still
from warped_diffusion.flow import Motion, identity_map, known_motion, visibility
from warped_diffusion.tasks import enlarge

Guess = Callable[[Tensor, Tensor, tuple[int, int]], tuple[Tensor, Tensor]]
"""(earlier, later, size): two reduced frames and the originals' size -> maps forward and backward on that grid."""

BASELINE = "dis, input enlarged bicubically"
JUDGE, EXACT = "refined", "exact"
REFERENCES: Mapping[str, Estimator] = {JUDGE: refined_flow, "fine": fine_flow, "dis": dis_flow}
"""Flow on the originals; the first of them judges."""

RATIO, SHARE, LIMIT = 0.75, 2 / 3, 1.0
"""What is asked: a mean error of at most so much of the baseline's on that share of the clips, and on none above."""
STRAY = 1.0
"""Pixels by which a position is off enough to be counted."""

RAFT = {"raft": "large", "raft-small": "small"}
"""Estimators that need a GPU and a download, and what size of RAFT they are."""

KNOWN = ("shift", "rotation", "zoom-in")
"""Motions of `flow.MOTIONS` that a still is moved by."""
STEPS = 12
"""Steps from a frame to the next in which a known motion would be done, 30 degrees or a zoom of 1.6 in all."""


@dataclass(frozen=True)
class Effort:
    """How much is measured: what the table asks for, or less for a quick look.

    Attributes:
        every: of a clip's pairs of frames that differ, each so-manieth is measured.
        still_frames, still_size: of the still that is moved.
    """

    factors: tuple[int, ...] = (4, 8)
    every: int = 2
    still_frames: int = 6
    still_size: tuple[int, int] = (160, 256)


class Truth(NamedTuple):
    """Maps that estimates are held against, and where: as in `Motion`, of one pair of frames."""

    forward: Tensor
    backward: Tensor
    visible: Tensor
    known: Tensor


class Pair(NamedTuple):
    """Two consecutive frames (3, H, W), not reduced, and what is taken for true of them, by name."""

    earlier: Tensor
    later: Tensor
    truths: Mapping[str, Truth]


@dataclass(frozen=True)
class Figures:
    """How an estimator did on a clip: by reference, the mean error in pixels and the share of positions off by more
    than `STRAY`; and the milliseconds that a pair took, both ways (median)."""

    error: Mapping[str, float]
    astray: Mapping[str, float]
    milliseconds: float


class Found(NamedTuple):
    """Figures of one clip by factor, 1 for the original, and estimator; and how far it moves from frame to frame."""

    figures: Mapping[int, Mapping[str, Figures]]
    motion: float


@benchmark("flow")
def flow(options: Options) -> Report:
    """Judge the estimators on `options.clip`, or the clip that ships, and on a moved still.

    Raises: UserError if a clip cannot be used.
    """
    return compare(options, Effort(), still(Effort().still_size))


def compare(options: Options, effort: Effort, picture: Tensor) -> Report:
    """The benchmark at any effort, on any picture for the still that is `MARGIN` larger than it on each side."""
    footage = [clip.read(options.frames) for clip in chosen(options.clip)]
    reduced_guesses = {BASELINE: enlarged} | {name: estimator(name) for name in ready()}
    guesses = dict.fromkeys(effort.factors, reduced_guesses)
    whole_guesses = {f"{name}, on the original": original(find) for name, find in REFERENCES.items()}
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("estimating flow", total=len(footage) + len(KNOWN))

        def run(pairs: Sequence[Pair], guesses: Mapping[int, Mapping[str, Guess]]) -> Found:
            figures = {
                factor: {label: measured(pairs, factor, guess) for label, guess in of.items()}
                for factor, of in guesses.items()
            }
            progress.advance(bar)
            return Found(figures, distance(pairs))

        real = {clip.name: run(real_pairs(clip, effort), guesses) for clip in footage}
        known = {name: run(known_pairs(name, picture, effort), {1: whole_guesses} | guesses) for name in KNOWN}
    more = {
        "Asked on real clips": Table(ASKED_COLUMNS, asked(real)),
        "A still under known motion": Table(KNOWN_COLUMNS, known_rows(known)),
    }
    return Report("flow", COLUMNS, rows(real), notes(footage, effort), more=more)


def ready() -> list[str]:
    """The registered estimators that run here: RAFT where "auto" would look for it, on a GPU, and has its weights."""
    return [name for name in ESTIMATORS if name not in RAFT or _raft_is_here(RAFT[name])]


def _raft_is_here(size: str) -> bool:
    try:
        return torch.cuda.is_available() and bool(load_network(size, torch.device("cuda")))
    except UserError:
        return False


def estimator(name: str) -> Guess:
    """A registered estimator, as a restoration would ask it."""

    def guess(earlier: Tensor, later: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        forward, backward, *_ = estimate_pair(earlier, later, size, name)
        return forward, backward

    return guess


def enlarged(earlier: Tensor, later: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The baseline: DIS, medium preset, on the frames bicubically enlarged to the whole size."""
    first, second = enlarge(torch.stack([earlier, later]), size).clamp(0, 1)
    return original(dis_flow)(first, second, size)


def original(find: Estimator) -> Guess:
    """Flow on frames that are of the size wanted already, as maps."""

    def guess(earlier: Tensor, later: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        forward, backward = (found + identity_map(*size) for found in find(earlier, later))
        return forward, backward

    return guess


def real_pairs(clip: Footage, effort: Effort) -> list[Pair]:
    """Pairs of the clip's frames that differ, thinned, with every reference's flow."""
    size = (clip.frames.shape[-2], clip.frames.shape[-1])
    pairs = []
    for j in torch.nonzero(clip.moving).flatten().tolist()[:: effort.every]:
        earlier, later = clip.frames[j], clip.frames[j + 1]
        truths = {}
        for name, find in REFERENCES.items():
            maps = original(find)(earlier, later, size)
            truths[name] = Truth(*maps, *visibility(*maps))
        pairs.append(Pair(earlier, later, truths))
    return pairs


def known_pairs(name: str, picture: Tensor, effort: Effort) -> list[Pair]:
    """Pairs of the picture's middle as a known motion moves it, each with the exact maps."""

    def beginning(frames: int, size: tuple[int, int]) -> Motion:
        whole, pairs = known_motion(name, STEPS + 1, size).motion, slice(frames - 1)
        return Motion(whole.forward[pairs], whole.backward[pairs], whole.visible[pairs], whole.known[pairs])

    frames = middle_clip(picture, beginning, effort.still_frames, effort.still_size)
    motion = beginning(effort.still_frames, effort.still_size)
    exact = zip(motion.forward, motion.backward, motion.visible, motion.known, strict=True)
    whole = zip(itertools.pairwise(frames), exact, strict=True)
    return [Pair(*pair, {EXACT: Truth(*truth)}) for pair, truth in whole][:: effort.every]


def errors(maps: tuple[Tensor, Tensor], truth: Truth) -> Tensor:
    """Distances of estimated positions from the true ones, pixels, where both frames show the place; both ways, (n,).

    A place is shown by both where the truth leads there and back again and stays in the frame.
    """
    there = (maps[0] - truth.forward).norm(dim=-1)[truth.visible > 0.5]
    back = (maps[1] - truth.backward).norm(dim=-1)[truth.known > 0.5]
    return torch.cat([there, back]).double()


def distance(pairs: Sequence[Pair]) -> float:
    """How far the picture moves between two frames, pixels: the mean error of who says that nothing moves."""
    still = identity_map(*pairs[0].earlier.shape[-2:])
    truths = (next(iter(pair.truths.values())) for pair in pairs)
    return float(torch.cat([errors((still, still), truth) for truth in truths]).mean())


def measured(pairs: Sequence[Pair], factor: int, guess: Guess) -> Figures:
    """Errors over all places of all pairs, of which each counts alike."""
    off: dict[str, list[Tensor]] = {name: [] for name in pairs[0].truths}
    seconds = []
    for pair in pairs:
        earlier, later = reduced(torch.stack([pair.earlier, pair.later]), factor)
        size = (pair.earlier.shape[-2], pair.earlier.shape[-1])
        started = time.perf_counter()
        maps = guess(earlier, later, size)
        seconds.append(time.perf_counter() - started)
        for name, truth in pair.truths.items():
            off[name].append(errors(maps, truth))
    pooled = {name: torch.cat(parts) for name, parts in off.items()}
    return Figures(
        error={name: float(values.mean()) for name, values in pooled.items()},
        astray={name: float((values > STRAY).double().mean()) for name, values in pooled.items()},
        milliseconds=1000 * statistics.median(seconds),
    )


COLUMNS = (
    "clip",
    "factor",
    "estimator",
    *(cell for name in REFERENCES for cell in (f"error against {name}, px", f"{name}, this / baseline")),
    "share off by more than 1 px",
    "mean motion, px",
    "ms per pair",
)
KNOWN_COLUMNS = (
    "motion",
    "factor",
    "estimator",
    "error, px",
    "this / baseline",
    "share off by more than 1 px",
    "mean motion, px",
    "ms per pair",
)
ASKED_COLUMNS = ("estimator", "factor", "reference", "clips at most 0.75", "largest ratio", "judged", "met")


def rows(found: Mapping[str, Found]) -> list[list[Cell]]:
    """The table of real clips."""
    table: list[list[Cell]] = []
    for name, (by_factor, motion) in found.items():
        for factor, of in by_factor.items():
            for label, figures in of.items():
                against: list[Cell] = []
                for reference in REFERENCES:
                    error = figures.error[reference]
                    against += [error, error / of[BASELINE].error[reference]]
                rest = [figures.astray[JUDGE], motion, figures.milliseconds]
                table.append([name, f"{factor}×", label, *against, *rest])
    return table


def known_rows(found: Mapping[str, Found]) -> list[list[Cell]]:
    """The table of the still; what is not reduced has no baseline."""
    table: list[list[Cell]] = []
    for name, (by_factor, motion) in found.items():
        for factor, of in by_factor.items():
            for label, figures in of.items():
                error = figures.error[EXACT]
                ratio = error / of[BASELINE].error[EXACT] if BASELINE in of else None
                rest = [figures.astray[EXACT], motion, figures.milliseconds]
                table.append([name, f"{factor}×", label, error, ratio, *rest])
    return table


def asked(found: Mapping[str, Found]) -> list[list[Cell]]:
    """Whether each estimator keeps the bounds over all clips, at each factor and by each reference."""
    ratios: dict[tuple[str, int, str], list[float]] = {}
    for by_factor, _ in found.values():
        for factor, of in by_factor.items():
            for label, reference in itertools.product(of, REFERENCES):
                if label != BASELINE:
                    ratio = of[label].error[reference] / of[BASELINE].error[reference]
                    ratios.setdefault((label, factor, reference), []).append(ratio)
    table: list[list[Cell]] = []
    for (label, factor, reference), found_ratios in ratios.items():
        few, most = sum(ratio <= RATIO for ratio in found_ratios), max(found_ratios)
        met = few >= math.ceil(SHARE * len(found_ratios)) and all(ratio <= LIMIT for ratio in found_ratios)
        cells: list[Cell] = [f"{few} of {len(found_ratios)}", most, "yes" if reference == JUDGE else "shown"]
        table.append([label, f"{factor}×", reference, *cells, "yes" if met else "NO"])
    return table


def notes(footage: Sequence[Footage], effort: Effort) -> list[str]:
    height, width = effort.still_size
    left_out = [name for name in ESTIMATORS if name not in ready()]
    return [
        *map(str, footage),
        f"of the pairs of frames that differ, one in {effort.every} is measured; inputs are area averages in 8 bits",
        "error: mean distance between estimated and reference position in pixels of the original, both ways, where "
        "the reference leads there and back again within the frame; share and mean motion go by refined",
        "the references are flow on the originals. refined: the default estimator; fine: DIS, medium preset, finest "
        "scale 0, 10 refinement iterations, median of 5×5; dis: DIS, medium preset. Baseline: dis on the input "
        "enlarged to the whole size",
        f"asked: at most {RATIO} of the baseline on two of three clips, on none above it; refined judges",
        f"the still: {effort.still_frames} frames of {width}×{height}, each motion's first of {STEPS} steps; its "
        "exact maps are the reference",
        "ms per pair: both ways, median of one call for each pair",
        *(f"left out: {name}, which needs a GPU, torchvision and its weights" for name in left_out),
    ]
