"""What a clip costs from its file to the restored one: bare evaluations of the network, ours, the paper's algorithm.

All in one process, with the same network, precision and threads, on the clip that ships. Each is run once a round, one
after the other, so that what else the machine does falls on all of them; the fastest round counts.
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from warped_diffusion.bench import sampler, yardstick
from warped_diffusion.bench.harness import Cell, Options, Report, Table, benchmark, measure
from warped_diffusion.diffusion import Denoiser, karras_sigmas, make_guidance
from warped_diffusion.errors import UserError
from warped_diffusion.estimators import fine_motion
from warped_diffusion.flow import Motion
from warped_diffusion.metrics import high_frequency_energy, psnr, warping_error
from warped_diffusion.models import Model, load_model
from warped_diffusion.options import PRESETS, choose_lanes
from warped_diffusion.options import Options as Settings
from warped_diffusion.restore import open_run, restore_stream
from warped_diffusion.tasks import make_task
from warped_diffusion.video import VideoReader, VideoWriter

TASK, SCALE = "super-resolution", 4
ASSETS = Path(__file__).parents[1] / "assets"
ORIGINAL, YARDSTICK, DEFAULT, UNGUIDED = "original", "yardstick", "default", "unguided"

FLOOR, SAME_STEPS, STANDARD, STEP, CORRECTION, SHARED = 1.3, 2.2, 4.0, 1.2, 15.0, 1.7
"""Asked: of bare evaluations at most; of the yardstick's speed at least, at its steps and with the preset `standard`;
of an unguided step at most; milliseconds of a frame's correction at most, on 4×128×128; of one process's speed
that two at least reach, of one thread each."""

SAME = 50.0
"""dB: one clip but for the rounding of a network in half precision."""

WORSE, OTHER = 0.1, 0.1
"""Accepted beside the yardstick: dB less, share of its high-frequency energy more or less."""

Restored = Iterable[Tensor]
Way = Callable[[Iterable[Tensor]], Restored]


@dataclass(frozen=True)
class Effort:
    """How much is measured: what the table asks for, or less for a quick look.

    Attributes:
        frames: of the clip.
        rounds: runs of each way; of the slow ones, the yardstick and what takes more steps than the default, one.
        evaluations: of the bare network, each round.
        cut: (top, left, height, width) of the part of the small clip that is restored; None for all.
    """

    frames: int = 8
    rounds: int = 2
    evaluations: int = 5
    steps: int = Settings().steps
    cut: tuple[int, int, int, int] | None = None
    presets: tuple[str, ...] = tuple(PRESETS)


class Run(NamedTuple):
    """One way, once: wall-clock seconds, those of processors, and the restored clip."""

    seconds: float
    processor: float
    clip: Tensor


@dataclass(frozen=True, eq=False)
class Case:
    """The clip and the network.

    Attributes:
        path: the degraded clip, a file.
        original: what it was, (N, 3, H, W).
        sigmas: the default's noise levels.
        example: the first frame's condition, a batch of one.
    """

    path: Path
    original: Tensor
    model: Model
    sigmas: Tensor
    example: Mapping[str, Tensor]
    lanes: int
    motion: Motion = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "motion", fine_motion(self.original))

    @property
    def size(self) -> tuple[int, int]:
        return self.original.shape[-2], self.original.shape[-1]


@benchmark("end-to-end")
def end_to_end(options: Options) -> Report:
    """Seconds from file to file of the default, the presets and the paper's algorithm, and what comes of each."""
    return measured(options, Effort())


def measured(options: Options, effort: Effort) -> Report:
    """The benchmark at any effort. Raises: UserError off a CPU, where the yardstick has not been adapted to run."""
    if torch.device(options.device).type != "cpu":
        raise UserError(f"bench end-to-end is of the CPU, got {options.device}: bench sampler measures a GPU")
    if options.frames is not None:
        effort = replace(effort, frames=options.frames)
    runs: dict[str, list[Run]] = {}
    alone: list[float] = []
    with tempfile.TemporaryDirectory() as folder, Progress(console=Console(stderr=True)) as progress:
        case = make_case(options, effort, Path(folder))
        chosen = ways(case, options, effort)
        bar = progress.add_task("restoring", total=effort.rounds * len(chosen))
        for turn in range(effort.rounds):
            for name, way in chosen.items():
                alone += evaluated(case, effort)
                if turn == 0 or not is_slow(name, effort):
                    runs.setdefault(name, []).append(timed(way, case, effort, Path(folder)))
                progress.advance(bar)
        together = shared(case, options, effort)
    steps = per_step(options, effort)
    correction = measure(corrector(options), repeats=max(options.repeats, 1)).median * 1000
    best = {name: min(some, key=lambda run: run.seconds) for name, some in runs.items()}
    evaluation = min(alone)
    figures = {name: judged(run.clip, case) for name, run in best.items()} | {ORIGINAL: judged(case.original, case)}
    found = [
        *verdicts(best, figures, evaluation, effort),
        *step_verdicts(steps, correction),
        *shared_verdicts(together),
    ]
    more = {"Asked": Table(("measure", "found", "accepted", "met"), [[*row[:3], met(row[3])] for row in found])}
    table = [*rows(best, figures, evaluation, effort), [ORIGINAL, *[None] * 6, *figures[ORIGINAL][1:]]]
    return Report("end-to-end", COLUMNS, table, notes(case, evaluation, effort), more=more)


def make_case(options: Options, effort: Effort, folder: Path) -> Case:
    """The sample's first frames, whole or a part of them, the small ones as a file."""
    with VideoReader(ASSETS / "sample.mp4", 0, effort.frames) as reader:
        low, rate = torch.stack(list(reader)), reader.frame_rate
    with VideoReader(ASSETS / "sample-original.mp4", 0, effort.frames) as reader:
        original = torch.stack(list(reader))
    if effort.cut is not None:
        top, left, height, width = effort.cut
        low = low[..., top : top + height, left : left + width]
        top, left, height, width = (SCALE * value for value in effort.cut)
        original = original[..., top : top + height, left : left + width]
    path = folder / "small.mp4"
    with VideoWriter(path, size=(low.shape[-2], low.shape[-1]), frame_rate=rate, quality=8) as writer:
        for frame in low:
            writer.write(frame)
    model = load_model(options.model, TASK, torch.device("cpu"))
    example = dict(make_task(TASK, SCALE).condition(low[:1]))
    one = {name: value[0] for name, value in example.items()}
    sigmas = karras_sigmas(effort.steps, *model.sigma_range(one))
    example["spectrum"] = torch.tensor([model.spectra.index(model.preferred or model.spectra[0])])
    lanes = choose_lanes("auto", (original.shape[-2], original.shape[-1]), torch.device("cpu"))
    return Case(path, original, model, sigmas, example, lanes)


def ways(case: Case, options: Options, effort: Effort) -> dict[str, Way]:
    """What is run, by name: from the degraded frames to the restored ones."""
    usual = Settings(
        task=TASK, scale=SCALE, model=case.model, seed=options.seed, steps=effort.steps, device="cpu", flow="refined"
    )

    def ours(settings: Settings) -> Way:
        return lambda frames: restore_stream(frames, settings)

    def literally(frames: Iterable[Tensor]) -> Restored:
        task = make_task(TASK, SCALE)
        return yardstick.restored(torch.stack(list(frames)), task, case.model, case.sigmas, options.seed)

    chosen = {name: replace(usual, **vars(PRESETS[name])) for name in effort.presets}
    preset = {name: ours(settings) for name, settings in chosen.items() if settings != usual}
    return {
        DEFAULT: ours(usual),
        UNGUIDED: ours(replace(usual, guidance="none")),
        **preset,
        YARDSTICK: literally,
    }


def is_slow(name: str, effort: Effort) -> bool:
    """Whether once must do."""
    return name == YARDSTICK or steps_of(name, effort) > effort.steps


def steps_of(name: str, effort: Effort) -> int:
    return PRESETS[name].steps if name in PRESETS else effort.steps


def timed(way: Way, case: Case, effort: Effort, folder: Path) -> Run:
    """A way from file to file."""
    clip = []
    began, spent = time.perf_counter(), time.process_time()
    with (
        VideoReader(case.path, 0, effort.frames) as reader,
        VideoWriter(folder / "restored.mp4", reader, case.size, overwrite=True) as writer,
    ):
        for frame in way(reader):
            writer.write(frame)
            clip.append(frame)
    return Run(time.perf_counter() - began, time.process_time() - spent, torch.stack(clip))


def evaluated(case: Case, effort: Effort) -> list[float]:
    """Seconds a frame of bare evaluations of the network, in the batches that `restore` makes."""
    return [bare(case.model.denoiser, case, case.lanes) for _ in range(effort.evaluations)]


@torch.no_grad()
def bare(denoiser: Denoiser, case: Case, count: int) -> float:
    """Seconds a frame of one evaluation of so many."""
    condition = {name: value.expand(count, *value.shape[1:]) for name, value in case.example.items()}
    noisy = torch.randn(count, case.model.channels, *case.size, generator=torch.Generator().manual_seed(0))
    sigma = torch.full((count,), float(case.sigmas[len(case.sigmas) // 2]))
    began = time.perf_counter()
    denoiser(noisy, sigma, condition)
    return (time.perf_counter() - began) / count


def per_step(options: Options, effort: Effort) -> Mapping[str, float]:
    """Seconds of an unguided and of a guided step of a frame that has both its anchors, its links' making included."""
    height, width = (90, 160) if effort.cut is None else effort.cut[2:]
    # One lane: the first two frames have no anchors or one, and are left out.
    asked = sampler.Effort(enlarged=(SCALE * height, SCALE * width), steps=effort.steps, turns=2)
    late = replace(options, warmup=2 * effort.steps)
    case = sampler.embedded_case(options, asked)
    found: dict[str, list[float]] = {}
    for _ in range(effort.rounds):
        for guidance in (sampler.NONE, sampler.DENOISED):
            seconds = sampler.run(case, guidance, 1, late, asked)
            found.setdefault(guidance, []).append(sum(seconds) / len(seconds))
    return {guidance: min(some) for guidance, some in found.items()}


def corrector(options: Options) -> Callable[[], object]:
    """One frame's correction on 4×128×128, towards both its anchors."""
    shape, guidance = (4, 128, 128), make_guidance("denoised")
    case = sampler.Case("latents", lambda noisy, *_: noisy, shape, torch.ones(1), (1,), 0)
    *_, frame = sampler.clip(case, guidance, 4, options)
    anchors = guidance.prepare(3, frame.links, "euler")
    estimates = torch.randn(1 + len(anchors), *shape, generator=torch.Generator().manual_seed(options.seed))
    return lambda: guidance.correction(estimates[0], anchors, list(estimates[1:]))


def shared(case: Case, options: Options, effort: Effort) -> dict[str, Run]:
    """The default in one process of one thread, and in two, which share the clip; processes that have started."""
    found, threads = {}, torch.get_num_threads()
    settings = Settings(task=TASK, scale=SCALE, model=options.model, steps=effort.steps, seed=options.seed)
    torch.set_num_threads(1)
    try:
        for devices in ("cpu", "cpu,cpu"):
            with VideoReader(case.path, 0, effort.frames) as reader:
                run = open_run(list(reader), replace(settings, device=devices, flow="refined"))
            if run is None:
                raise UserError("the clip has no frame: ask for one or more")
            bare(run.restoration.denoiser, case, run.restoration.share)  # all have answered once
            began, spent = time.perf_counter(), time.process_time()
            clip = torch.stack(list(run))
            found[devices] = Run(time.perf_counter() - began, time.process_time() - spent, clip)
    finally:
        torch.set_num_threads(threads)
    return found


class Figures(NamedTuple):
    """A clip, measured: PSNR in dB, warping error to the first frame, high-frequency energy."""

    psnr: float
    to_first: float
    detail: float


def judged(clip: Tensor, case: Case) -> Figures:
    """Of frames as they leave the sampler, before they are encoded."""
    return Figures(
        float(psnr(clip, case.original).mean()),
        float(warping_error(clip, case.motion, "first")),
        float(high_frequency_energy(clip).mean()),
    )


COLUMNS = (
    "restored",
    "steps",
    "s per frame",
    "processor s per frame",
    "time / bare evaluations",
    "yardstick’s time / this",
    "PSNR, dB",
    "error to first",
    "high-frequency energy",
)


def rows(
    best: Mapping[str, Run], figures: Mapping[str, Figures], evaluation: float, effort: Effort
) -> Iterator[list[Cell]]:
    """One for each way."""
    slowest = best[YARDSTICK].seconds
    for name, run in best.items():
        steps, count = steps_of(name, effort), len(run.clip)
        floor = run.seconds / (steps * count * evaluation)
        costs = [run.seconds / count, run.processor / count, floor, slowest / run.seconds]
        yield [name, steps, *costs, *figures[name]]


Verdict = tuple[str, float, str, bool]


def verdicts(
    best: Mapping[str, Run], figures: Mapping[str, Figures], evaluation: float, effort: Effort
) -> Iterator[Verdict]:
    """Measure, what was found, what is accepted, whether it is met."""
    floor = best[DEFAULT].seconds / (effort.steps * len(best[DEFAULT].clip) * evaluation)
    yield "default, time over bare evaluations", floor, f"at most {FLOOR}", floor <= FLOOR
    for name, least in ((DEFAULT, SAME_STEPS), ("standard", STANDARD)):
        if name not in best:
            continue
        faster = best[YARDSTICK].seconds / best[name].seconds
        yield f"{name}, times as fast as the yardstick", faster, f"at least {least}", faster >= least
        this, other = figures[name], figures[YARDSTICK]
        error, gain, detail = this.to_first / other.to_first, this.psnr - other.psnr, this.detail / other.detail
        yield f"{name}, error to first over the yardstick’s", error, "at most 1", error <= 1
        yield f"{name}, PSNR over the yardstick’s, dB", gain, f"at least −{WORSE}", gain >= -WORSE
        near, true = f"{1 - OTHER} to {1 + OTHER}", this.detail / figures[ORIGINAL].detail
        yield f"{name}, high-frequency energy over the yardstick’s", detail, near, abs(detail - 1) <= OTHER
        yield f"{name}, high-frequency energy over the original’s", true, near, abs(true - 1) <= OTHER


def step_verdicts(steps: Mapping[str, float], correction: float) -> Iterator[Verdict]:
    ratio = steps[sampler.DENOISED] / steps[sampler.NONE]
    yield "guided over unguided step", ratio, f"at most {STEP}", ratio <= STEP
    yield (
        "correction of 4×128×128, ms a frame and step",
        correction,
        f"at most {CORRECTION:g}",
        correction <= CORRECTION,
    )


def shared_verdicts(together: Mapping[str, Run]) -> Iterator[Verdict]:
    one, two = together["cpu"], together["cpu,cpu"]
    faster, alike = one.seconds / two.seconds, float(psnr(two.clip, one.clip).min())
    yield "two processes of one thread, times as fast as one", faster, f"at least {SHARED}", faster >= SHARED
    yield "their clip against its, PSNR of the worst frame, dB", alike, f"at least {SAME:g}", alike >= SAME


def met(answer: bool) -> str:
    return "met" if answer else "NOT met"


def notes(case: Case, evaluation: float, effort: Effort) -> list[str]:
    height, width = case.size
    return [
        f"{effort.frames} frames of the sample, {width // SCALE}×{height // SCALE} to {width}×{height}, decoded, "
        f"restored, encoded; {case.lanes} frames a batch; the fastest of {effort.rounds} rounds, slow ways take one",
        f"bare evaluations: {1000 * evaluation:.1f} ms a frame, the fastest of all rounds, times frames and steps",
        "yardstick: the paper’s algorithm as printed but for a sign (bench/yardstick.py): frame by frame, back through "
        "the network, a plain sum of 3000 cosines, bilinear; the same network, precision, threads, noise levels, flow",
        "PSNR and the rest: frames as sampled, before they are encoded; error to the first frame along the original’s "
        "flow, by a quintic spline",
        "high-frequency energy is set against the yardstick’s, as asked, and against the original’s: through bilinear "
        "composition the yardstick sharpens each frame further (docs/design.md), and to come near that is no aim",
        "guided and unguided step: as bench sampler takes them, of frames with both anchors, one lane; the making of "
        "links is in it, flow, noise and files are not",
        "two processes: the default, once each; that they start is left out, as is decoding and encoding",
    ]
