"""What becomes of noise that follows a motion: its statistics, its coherence with earlier frames, and its time.

Every scheme, along motions that are known exactly and along a real clip's, measured on the last frame.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from itertools import product
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from warped_diffusion.bench.harness import Cell, Options, Report, benchmark, machine
from warped_diffusion.bench.warps import timings
from warped_diffusion.errors import UserError
from warped_diffusion.estimators import estimate_motion
from warped_diffusion.flow import MOTIONS, Motion, compose, identity_map, known_motion
from warped_diffusion.metrics import (
    coherence,
    coherence_reference,
    flatness_error,
    ks_distance,
    neighbour_correlation,
    newly_exposed,
    spectrum_distance,
    tiles,
    variance,
    whitened_flatness,
)
from warped_diffusion.noise import SCHEMES, SPECTRA, GaussianField, Scheme, Spectrum, get_spectrum, make_scheme
from warped_diffusion.noise.stateless import Stateless
from warped_diffusion.video import VideoReader

SAMPLE = Path(__file__).parents[1] / "assets" / "sample.mp4"
CLIP, EXACT, PLAIN = "real clip", "integer-shift", "plain field"
AGREEING = ("nearest", "bilinear", "integral", "gp")
"""Schemes that must be one and the same where the motion is by whole pixels."""
CARRIED = ("gp",)
"""Schemes that make each frame's noise from the one before, so that no frame can be left out."""
WORST = 0.95
"""Flatness below which a tile is wrong: noise that a local motion has spoilt in one place is spoilt. Of independent
noise the least of 40 tiles of 32 pixels is 0.982 ± 0.004."""
TIE = 0.005
"""Coherences that differ by less are the same: each has a standard error of about 0.002."""


@dataclass(frozen=True)
class Effort:
    """How much is measured: what the table asks for, or less for a quick look.

    Attributes:
        size: (height, width) of the analytic motions' frames.
        enlarged: how many times the sample clip's frames are enlarged, as a restoration would.
        draws: seeds whose figures are averaged.
        tile: side of the squares that the worst place is looked for with, pixels.
        sides: of the square frames that are timed, pixels; the first one also in a batch.
    """

    frames: int = 24
    size: tuple[int, int] = (136, 320)
    enlarged: int = 2
    channels: int = 4
    draws: int = 4
    tile: int = 32
    sides: tuple[int, ...] = (128, 256, 512, 1024)


@dataclass(frozen=True, eq=False)
class Course:
    """The way that a clip's pixels take.

    Attributes:
        positions: (N, H, W, 2), P_j.
        backward: (N-1, H, W, 2), T_j⁻¹.
        seen, seen_before: (H, W), 1 where the last frame shows what the first one and the one before it showed; None
            where only the frame's border hides anything.
    """

    positions: Tensor
    backward: Tensor
    seen: Tensor | None = None
    seen_before: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.positions.shape[1], self.positions.shape[2]

    def run(self, scheme: Scheme, every: bool) -> tuple[Tensor, Tensor, Tensor]:
        """The noise of the first frame, the last but one and the last; `every` other is made too, or is left out."""
        last = len(self.positions) - 1
        asked = range(last + 1) if every else sorted({0, last - 1, last})
        found = {}
        for j in asked:
            made = scheme.frame(j, self.positions[j], self.backward[j - 1] if j else None)
            if j in (0, last - 1, last):
                found[j] = made
        return found[0], found[last - 1], found[last]


@dataclass(frozen=True)
class Figures:
    """What is measured of a scheme's last frame: see `COLUMNS`."""

    variance: float
    correlation: float
    ks: float
    flatness: float
    distance: float
    worst_flatness: float
    worst_variance: float
    to_previous: float
    to_first: float

    @property
    def right(self) -> bool:
        """Whether a model would take it for the noise that it was trained with, by what `gp` is asked for."""
        whole = abs(self.variance - 1) <= 0.02 and abs(self.correlation) <= 0.02 and self.flatness >= 0.97
        return whole and self.worst_flatness >= WORST


class Plain(Stateless):
    """The random function at the picture's own coordinates and nothing else: what the paper does."""

    def __init__(self, channels: int, size: tuple[int, int], spectrum: Spectrum, seed: int) -> None:
        self._field = GaussianField(channels, size, spectrum, seed=(seed, 0))

    def frame(
        self, index: int, positions: Tensor, backward: Tensor | None = None, known: Tensor | None = None
    ) -> Tensor:
        return self._field(positions)


@benchmark("noise")
def noise(options: Options) -> Report:
    """Compare noise schemes; `options.spectrum` names one spectrum, "all" or None are both.

    Raises: UserError if there is no such spectrum.
    """
    return compare(options, Effort())


def compare(options: Options, effort: Effort) -> Report:
    """The benchmark at any effort. Schemes are measured on all cores, warps are timed alone.

    Raises: UserError for an option that it cannot use.
    """
    if options.device != "cpu":
        raise UserError(f"noise is made on the CPU: leave out --device {options.device}")
    if options.batch < 1 or options.repeats < 1:
        raise UserError(f"--batch is {options.batch} and --repeats {options.repeats}: give at least 1 of each")
    every = options.spectrum in (None, "all")
    spectra = list(SPECTRA.values()) if every else [get_spectrum(options.spectrum or "")]
    paths, schemes = courses(effort), (*SCHEMES, PLAIN)
    cells = list(product(spectra, paths, schemes))
    with Progress(console=Console(stderr=True)) as progress, ThreadPoolExecutor(machine().cores) as pool:
        bar = progress.add_task("warping noise", total=len(cells))

        def work(cell: tuple[Spectrum, str, str]) -> tuple[Figures, Figures]:
            spectrum, motion, scheme = cell
            figures = repeated(scheme, paths[motion], spectrum, options.seed, effort)
            progress.advance(bar)
            return figures

        found = dict(zip(cells, pool.map(work, cells), strict=True))
    table: list[list[Cell]] = []
    lines = [*notes(effort), largest_error([error for _, error in found.values()])]
    for spectrum, motion in product(spectra, paths):
        figures = {scheme: found[spectrum, motion, scheme][0] for scheme in schemes}
        best = references(paths[motion], spectrum)
        table += rows(spectrum, motion, figures, best)
        lines += [
            f"gp, {spectrum.name}, {motion}: {text}: {'met' if met else 'NOT MET'}"
            for text, met in verdicts(motion, figures, best)
        ]
    lines += [agreement_on_whole_pixels(spectrum, options.seed, effort) for spectrum in spectra]
    timing, said = timings(options, effort.channels, effort.sides)
    return Report("noise", COLUMNS, table, lines + said, more={"Milliseconds per warp": timing})


def courses(effort: Effort) -> dict[str, Course]:
    """The table's motions by name: the analytic ones, but the whole-pixel one, and the sample clip's."""
    found = {}
    for name in MOTIONS:
        if name != EXACT:
            found[name] = analytic(name, effort)
    with VideoReader(SAMPLE, stop=effort.frames) as reader:
        clip = torch.stack(list(reader))
    size = (clip.shape[-2] * effort.enlarged, clip.shape[-1] * effort.enlarged)
    return found | {CLIP: followed(estimate_motion(clip, size))}


def analytic(name: str, effort: Effort) -> Course:
    """The way along a motion that is known exactly."""
    motion = known_motion(name, effort.frames, effort.size)
    positions = torch.stack([motion.positions(j) for j in range(effort.frames)])
    return Course(positions, motion.backward.expand(effort.frames - 1, -1, -1, -1))


def followed(motion: Motion) -> Course:
    """The way along a clip's motion, its steps composed; what was hidden on the way does not count."""
    positions = [identity_map(*motion.size)]
    for backward in motion.backward:
        positions.append(compose(positions[-1], backward))
    seen = (~newly_exposed(motion, motion.frames - 1)).double()
    return Course(torch.stack(positions), motion.backward, seen, (motion.known[-1] >= 0.5).double())


def repeated(scheme: str, course: Course, spectrum: Spectrum, seed: int, effort: Effort) -> tuple[Figures, Figures]:
    """The means of all figures over the draws, and the means' standard errors (nan if there is but one draw)."""
    draws = []
    for draw in range(effort.draws):
        maker = make(scheme, effort.channels, course.size, spectrum, seed + draw)
        draws.append(astuple(measured(course.run(maker, scheme in CARRIED), course, spectrum, effort.tile)))
    columns = list(zip(*draws, strict=True))
    spreads = [statistics.stdev(values) if len(values) > 1 else math.nan for values in columns]
    return Figures(*map(statistics.fmean, columns)), Figures(*(spread / math.sqrt(len(draws)) for spread in spreads))


def largest_error(errors: Sequence[Figures]) -> str:
    """A note: how far off the table's figures may be."""
    worst = zip(*map(astuple, errors), strict=True)
    largest = (f"{max(values):.2g} ({field.name})" for field, values in zip(fields(Figures), worst, strict=True))
    return "largest standard error in the table: " + ", ".join(largest)


def make(name: str, channels: int, size: tuple[int, int], spectrum: Spectrum, seed: int) -> Scheme:
    """A scheme of the registry, or the plain field."""
    if name == PLAIN:
        return Plain(channels, size, spectrum, seed)
    return make_scheme(name, channels=channels, size=size, spectrum=spectrum, seed=seed)


def measured(frames: tuple[Tensor, Tensor, Tensor], course: Course, spectrum: Spectrum, tile: int) -> Figures:
    """All figures of the last frame, given as `Course.run` does."""
    first, before, last = frames
    parts = tiles(last, tile)
    levels = variance(parts)
    return Figures(
        variance=float(variance(last)),
        correlation=float(neighbour_correlation(last)) - target_correlation(spectrum),
        ks=float(ks_distance(last)),
        flatness=float(whitened_flatness(last, spectrum.density)),
        distance=float(spectrum_distance(last, spectrum.density)),
        worst_flatness=float(whitened_flatness(parts, spectrum.density).min()),
        worst_variance=float(levels[(levels - 1).abs().argmax()]),
        to_previous=coherence(before, last, course.backward[-1], course.seen_before),
        to_first=coherence(first, last, course.positions[-1], course.seen),
    )


def target_correlation(spectrum: Spectrum) -> float:
    """The correlation that neighbouring pixels should have."""
    one, none = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    return float(spectrum.kernel(one, none) + spectrum.kernel(none, one)) / 2


def references(course: Course, spectrum: Spectrum) -> tuple[float, float]:
    """The highest coherences possible, with the previous frame and with the first."""
    return (
        coherence_reference(course.backward[-1], spectrum.density, weight=course.seen_before),
        coherence_reference(course.positions[-1], spectrum.density, weight=course.seen),
    )


COLUMNS = (
    "spectrum",
    "motion",
    "scheme",
    "variance",
    "neighbour correlation − target",
    "KS",
    "flatness",
    "distance to spectrum",
    "flatness, worst tile",
    "variance, worst tile",
    "coherence, previous",
    "best possible, previous",
    "ratio, previous",
    "coherence, first",
    "best possible, first",
    "ratio, first",
)


def rows(
    spectrum: Spectrum, motion: str, figures: Mapping[str, Figures], best: tuple[float, float]
) -> list[list[Cell]]:
    """The table's part for one spectrum and motion."""
    table: list[list[Cell]] = []
    for scheme, found in figures.items():
        *statistics_of, to_previous, to_first = astuple(found)
        previous = [to_previous, best[0], to_previous / best[0]]
        table.append([spectrum.name, motion, scheme, *statistics_of, *previous, to_first, best[1], to_first / best[1]])
    return table


def verdicts(motion: str, figures: Mapping[str, Figures], best: tuple[float, float]) -> list[tuple[str, bool]]:
    """What is asked of `gp` under one motion: each bound with the figure found, and whether it holds."""
    found, ratio = figures["gp"], figures["gp"].to_first / best[1]
    asked = [
        (
            f"variance {found.variance:.3f} (within 0.02 of 1), neighbour correlation off by {found.correlation:+.3f} "
            f"(at most 0.02), flatness {found.flatness:.3f} (at least 0.97), in the worst tile "
            f"{found.worst_flatness:.3f} (at least {WORST})",
            found.right,
        )
    ]
    least = 0.95 if motion == "shift" else 0.85 if motion in ("rotation", "zoom-in", "zoom-out") else None
    if least is not None:
        asked.append(
            (f"coherence with the first frame {ratio:.3f} of the best possible (at least {least})", ratio >= least)
        )
    others = {name: other.to_first for name, other in figures.items() if name != "gp" and other.right}
    if others:
        rival = max(others, key=others.__getitem__)
        above = found.to_first > others[rival] - TIE
        text = f"coherence with the first frame {found.to_first:.3f}, not below that of any other scheme with the right"
        asked.append((f"{text} statistics ({rival}: {others[rival]:.3f})", above))
    return asked


def agreement_on_whole_pixels(spectrum: Spectrum, seed: int, effort: Effort) -> str:
    """A note: how far the schemes that must agree under a shift by whole pixels differ in the last frame."""
    course = analytic(EXACT, effort)
    inside = known_motion(EXACT, effort.frames, effort.size).inside(effort.frames - 1) == 1
    names = [name for name in AGREEING if name in SCHEMES]
    schemes = {name: make(name, effort.channels, effort.size, spectrum, seed) for name in names}
    last = [course.run(scheme, name in CARRIED)[-1][:, inside] for name, scheme in schemes.items()]
    worst = max(float((frame - last[0]).abs().max()) for frame in last)
    verdict = "met" if worst <= 1e-5 else "NOT MET"
    return (
        f"{', '.join(names)}, {spectrum.name}, {EXACT}: they differ by {worst:.1e} where the first frame showed the "
        f"place (at most 1e-5): {verdict}"
    )


def notes(effort: Effort) -> list[str]:
    """What the table's figures are."""
    height, width = effort.size
    count = (height // effort.tile) * (width // effort.tile)
    generator = torch.Generator().manual_seed(0)
    sides = (effort.tile, effort.tile)
    ideal = torch.randn(256, count, effort.channels, *sides, generator=generator)
    worst = whitened_flatness(ideal).amin(-1)
    level = (variance(ideal) - 1).abs().amax(-1)
    return [
        f"last of {effort.frames} frames {width}×{height}, {effort.channels} channels; means of {effort.draws} seeds",
        "flatness: of the periodogram over the one that the spectrum lets expect, relative to independent noise, 1 is "
        f"perfect, with a standard error of {flatness_error(effort.channels, effort.size):.4f} a frame",
        "distance to spectrum: Itakura and Saito's, mean of r − log r − 1 for a periodogram r times the one that the "
        "spectrum lets expect, 0 is perfect, with the same standard error",
        f"worst tile: of {count} tiles {effort.tile}×{effort.tile}; independent noise has a least flatness of "
        f"{worst.mean():.3f} ± {worst.std():.3f} and a variance {level.mean():.3f} ± {level.std():.3f} off 1 in one",
        "coherence: correlation along the true motion of the two frames as band-limited functions, at least 16 pixels "
        "inside both; what lies beyond the frame costs a perfect field up to 0.003. Best possible: what frames of the "
        "right spectrum can have; more means that the spectrum is wrong",
        f"{CLIP}: {SAMPLE.name} enlarged {effort.enlarged} times, motion by DIS, coherence where it was in sight all "
        "the way",
        f"{PLAIN}: the random function at the composed positions and nothing else",
    ]
