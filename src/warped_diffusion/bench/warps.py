"""How long one warp of noise takes: the default scheme, the bare field held in both ways, and the sum as printed."""

import torch
from torch import Tensor

from warped_diffusion.bench.harness import Cell, Options, Table, measure
from warped_diffusion.flow import known_motion
from warped_diffusion.noise import GaussianField, make_scheme
from warped_diffusion.noise.random_features import FEATURES, RandomFeatures, direct_sum
from warped_diffusion.noise.spectra import White

COLUMNS = (
    "frame",
    "warps in a call",
    "gp",
    "plain field",
    "random features",
    "random features, all threads",
    "direct sum, all threads",
    "direct / random features",
)
LATENT, LIMIT = 128, 40.0
"""Side of a latent frame, and the milliseconds that the default scheme may take for one."""
QUICK = 256
"""Side of the largest frame whose direct sum is repeated: ten seconds a time is enough once."""
CHECKED = 4096
"""Positions at which the transform is compared with the sum in float64."""


def timings(options: Options, channels: int, sides: tuple[int, ...]) -> tuple[Table, list[str]]:
    """Milliseconds per warp, and what to say of them.

    Args:
        sides: of the square frames, pixels, smallest first; that one is also timed `options.batch` at a time.
    """
    alone = {side: timed_alone(side, options, channels) for side in sides}
    table: list[list[Cell]] = [[f"{side}×{side}", 1, *times] for side, times in alone.items()]
    table.append([f"{sides[0]}×{sides[0]}", options.batch, *timed_batch(sides[0], options, channels)])
    ratio, off = alone[sides[-1]][-1], error(sides[-1], options, channels)
    made = table_making(sides[-1], options, channels)
    said = [
        f"warps: {channels} channels, white spectrum, {FEATURES} random features, along a rotation; median of "
        f"{options.repeats} after {options.warmup} to warm up, of a batch and of the direct sum above {QUICK}×{QUICK} "
        "one call; random functions and maps are made beforehand, and so is the table that random features read, which "
        f"takes {1000 * made:.0f} ms at {sides[-1]}×{sides[-1]}, once for all frames, on one thread",
        "direct sum: of cosines as printed, blocks of positions, float32, products of matrices, on "
        f"{torch.get_num_threads()} threads; where nothing else is said a warp takes one thread, for the sake of its "
        "last bits, except that gp does several transforms at a time, one on each of up to four cores",
        f"direct sum over random features at {sides[-1]}×{sides[-1]}, same threads: {ratio:.1f} times as long (at "
        f"least 20): {'met' if ratio >= 20 else 'NOT MET'}; the two differ by {off:.1e} of the field's deviation, the "
        f"sum in float64 (at most 1e-5): {'met' if off <= 1e-5 else 'NOT MET'}",
    ]
    if LATENT in alone:
        spent = alone[LATENT][0]
        verdict = "met" if spent < LIMIT else "NOT MET"
        said.append(f"gp at {LATENT}×{LATENT}: {spent:.1f} ms a warp (under {LIMIT:.0f}): {verdict}")
    return Table(COLUMNS, table), said


def timed_alone(side: int, options: Options, channels: int) -> list[float]:
    """Milliseconds of one warp at a time, and the direct sum over the features' transform."""
    calls, few = options.warmup + options.repeats, options.repeats if side <= QUICK else 1
    motion = known_motion("rotation", calls + 1, (side, side))
    maps, backward = [motion.positions(j) for j in range(calls + 1)], motion.backward
    scheme = make_scheme("gp", channels=channels, size=(side, side), seed=options.seed)
    scheme.frame(0, maps[0])
    numbers = iter(range(1, calls + 1))
    lattice, features = fields(side, options, channels)
    random = features_of(side, options, channels)
    points = maps[-1].reshape(-1, 2)
    threads = torch.get_num_threads()

    def follow() -> Tensor:
        j = next(numbers)
        return scheme.frame(j, maps[j], backward)

    def direct() -> Tensor:
        return direct_sum(random.frequencies, random.phases, random.weights, points)

    timed = [
        measure(follow, options.warmup, options.repeats),
        measure(lambda: lattice(maps[-1]), options.warmup, options.repeats),
        measure(lambda: features(maps[-1]), options.warmup, options.repeats),
        measure(lambda: random.at(points.double(), threads), options.warmup, options.repeats),
        measure(direct, min(options.warmup, few - 1), few),
    ]
    seconds = [timing.median for timing in timed]
    return [*(1000 * value for value in seconds), seconds[-1] / seconds[-2]]


def timed_batch(side: int, options: Options, channels: int) -> list[float | None]:
    """Milliseconds per warp of many different ones in one call, timed once."""
    motion = known_motion("rotation", options.batch, (side, side))
    maps = torch.stack([motion.positions(j) for j in range(options.batch)])
    scheme = make_scheme("gp", channels=channels, size=(side, side), seed=options.seed)
    lattice, features = fields(side, options, channels)
    calls = (lambda: scheme.frame(0, maps), lambda: lattice(maps), lambda: features(maps))
    timed = [measure(call, 0, 1) for call in calls]
    return [*(1000 * timing.median / options.batch for timing in timed), None, None, None]


def error(side: int, options: Options, channels: int) -> float:
    """Root mean square difference between the features' transform and their sum in float64, of values around 1."""
    random = features_of(side, options, channels)
    positions = known_motion("rotation", 2, (side, side)).positions(1).double().reshape(-1, 2)
    chosen = torch.arange(0, len(positions), max(1, len(positions) // CHECKED))
    exact = direct_sum(random.frequencies, random.phases, random.weights, positions[chosen], torch.float64)
    return float((random.at(positions)[:, chosen] - exact).square().mean().sqrt())


def table_making(side: int, options: Options, channels: int) -> float:
    """Seconds that the first warp of random features takes longer than those that follow."""
    random = features_of(side, options, channels)
    points = known_motion("rotation", 2, (side, side)).positions(1).double().reshape(-1, 2)
    first, second = (measure(lambda: random.at(points), 0, 1).median for _ in range(2))
    return first - second


def fields(side: int, options: Options, channels: int) -> tuple[GaussianField, GaussianField]:
    """The white field on a lattice and as random features."""
    lattice, random = (
        GaussianField(channels, (side, side), "white", representation, options.seed)
        for representation in ("lattice", "random")
    )
    return lattice, random


def features_of(side: int, options: Options, channels: int) -> RandomFeatures:
    """The random features themselves, to be read on any number of threads or added up."""
    return RandomFeatures.draw(channels, (side, side), White(), options.seed)
