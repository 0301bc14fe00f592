"""Does the embedded model sample a posterior, or is it a filter? Its estimate, its samples and their mean, measured.

A sample of the posterior is as far from its mean as the truth is, so its mean squared error is twice that of the
estimate E[u_0 given c]: 3.0 dB. The mean of n samples comes within 1 + 1/n of it, 0.26 dB at 16. A model that lost
less with one sample would be a filter, one that lost more would sample something else. The solver must not take part
in that: fifty Euler steps shrink a Gaussian's spread to 0.957, which makes 2.82 dB of 3.0; as many of the second-order
solver change it by less than 0.5 %.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from warped_diffusion.bench.harness import Cell, Options, Report, benchmark
from warped_diffusion.diffusion import FrameInput, get_solver, karras_sigmas, make_guidance, sample
from warped_diffusion.errors import UserError
from warped_diffusion.metrics import high_frequency_energy, psnr
from warped_diffusion.models import Model, load_model
from warped_diffusion.noise import grid_noise
from warped_diffusion.tasks import area_average, enlarge, make_task
from warped_diffusion.training.pictures import PackedPictures

TASK = "super-resolution"
LONG_SIDE = 512  # held-out pictures are reduced to about this, as sharp as a video frame is
SOLVER = "dpmpp-2m"

Tick = Callable[[int], None]
"""Called with the number of evaluations of single pictures that have just been done."""


@dataclass(frozen=True)
class Effort:
    """How much is measured: what the table asks for, or less for a quick look.

    Attributes:
        pictures: at most that many of the held-out pictures; None for all.
        side: pixels of the square cut from the middle of each picture, a multiple of every scale.
        draws, drawn: samples of which the mean is taken, and of how many of the pictures.
        shown: pictures in posterior.png, at most `drawn`.
        lanes: pictures in one batch.
    """

    pictures: int | None = None
    side: int = 256
    scales: tuple[int, ...] = (8, 4)
    steps: int = 50
    draws: int = 16
    drawn: int = 2
    shown: int = 2
    lanes: int = 8

    def chosen(self, count: int, wanted: int) -> list[int]:
        """Numbers of `wanted` of `count` pictures, the middles of as many equal parts: the list goes by sources."""
        wanted = min(wanted, count)
        return [(2 * part + 1) * count // (2 * wanted) for part in range(wanted)]

    def evaluations(self, count: int) -> int:
        """Evaluations of the network on single pictures, for one scale and spectrum."""
        return count * (1 + self.steps) + min(self.drawn, count) * (self.draws - 1) * self.steps


@dataclass(frozen=True)
class Outcome:
    """What one scale and one spectrum gave: pictures in [0, 1], `mean` of those that `drawn` numbers alone."""

    bicubic: Tensor
    one_step: Tensor
    sample: Tensor
    mean: Tensor
    drawn: list[int]


@dataclass(frozen=True)
class Figure:
    """A mean over pictures and its standard error; nan for the error of a single picture."""

    value: float
    error: float


Bounds = tuple[float, float]

ANY: Bounds = (-inf, inf)

MEASURES: Mapping[str, Bounds | Mapping[int, Bounds]] = {
    "bicubic PSNR, dB": ANY,
    "one step PSNR, dB": ANY,
    "one step − bicubic, dB": {8: (0.7, inf), 4: (1.0, inf)},
    "sample − one step, dB": (-4.0, -2.0),
    "mean of samples − one step, dB": (-0.4, 0.4),
    "high frequencies of a sample / truth, mean of ratios": (0.6, 1.6),
    "high frequencies of samples / truth, ratio of means": (0.6, 1.6),
    "high frequencies of one step / truth, ratio of means": ANY,
    "reduced sample − input, RMSE": (0.0, 0.02),
}
"""What is reported, in order, and the bounds within which it is accepted, by scale where they differ."""


@benchmark("posterior")
def posterior(options: Options) -> Report:
    """Judge the embedded model on the held-out pictures; `options.out` gets posterior.png beside the report.

    Raises: UserError if `options.pictures` is not given or holds none, or there is no such model or spectrum.
    """
    return judge(options, Effort())


def judge(options: Options, effort: Effort) -> Report:
    """The benchmark at any effort."""
    if options.pictures is None:
        raise UserError("the benchmark 'posterior' needs photographs: give --pictures, the folder of packed pictures")
    names, truth = held_out(options.pictures, effort)
    model = load_model(options.model, TASK, torch.device(options.device))
    spectra = [name for name in model.spectra if options.spectrum in (None, name)]
    if not spectra:
        raise UserError(f"the model knows noise of spectrum {', '.join(model.spectra)}, not {options.spectrum!r}")
    cases = [(scale, spectrum) for scale in effort.scales for spectrum in spectra]
    total = effort.evaluations(len(truth)) * len(cases)
    outcomes = {}
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("judging the model", total=total)
        for scale, spectrum in cases:
            outcomes[scale, spectrum] = run_case(
                model, truth, scale, spectrum, effort, options, lambda n: progress.advance(bar, n)
            )
    if options.out is not None:
        draw(options.out / "posterior.png", truth, outcomes, spectra[0], effort)
    figures = {case: summary(truth, outcome, case[0]) for case, outcome in outcomes.items()}
    return Report("posterior", columns(spectra), rows(figures, spectra), notes(names, effort, total))


def held_out(folder: Path, effort: Effort) -> tuple[list[str], Tensor]:
    """Names, and (N, 3, side, side) in [0, 1]: the middles of the held-out pictures, each reduced by a whole factor.

    Raises: UserError if there is none.
    """
    pictures = PackedPictures(folder, "held-out")
    names, found = [], []
    for number, entry in enumerate(pictures.entries):
        picture = pictures[number]
        height, width = picture.shape[:2]
        factor = max(1, min(round(max(height, width) / LONG_SIDE), min(height, width) // effort.side))
        values = area_average(torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255, factor)
        top, left = ((size - effort.side) // 2 for size in values.shape[-2:])
        if min(top, left) >= 0:
            names.append(str(entry["name"]))
            found.append(values[:, top : top + effort.side, left : left + effort.side])
    if not found:
        raise UserError(
            f"no held-out picture of {effort.side} pixels in {folder}: pack some with scripts/pack_pictures.py"
        )
    chosen = effort.chosen(len(found), effort.pictures or len(found))
    return [names[number] for number in chosen], torch.stack([found[number] for number in chosen])


def run_case(
    model: Model,
    truth: Tensor,
    scale: int,
    spectrum: str,
    effort: Effort,
    options: Options,
    tick: Tick,
    stream: int | None = None,
) -> Outcome:
    """The model's outputs for one scale and one spectrum; every draw has noise of its own, keyed by the seed.

    Args:
        stream: which white noise that of the spectrum is filtered from; None for the spectrum's own.
    """
    task, index = make_task(TASK, scale), model.spectra.index(spectrum)
    stream = index if stream is None else stream
    condition = dict(task.condition(task.degrade(truth))) | {"spectrum": torch.full((len(truth),), index)}
    sigmas = karras_sigmas(effort.steps, *model.sigma_range({name: value[0] for name, value in condition.items()}))

    def run(levels: Tensor, draw: int, chosen: Sequence[int]) -> Tensor:
        key = np.random.SeedSequence([options.seed, scale, stream, draw]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(key[0]))
        noise = grid_noise(spectrum, truth.shape, generator)
        frames = []
        for number in chosen:
            one = {name: value[number].to(options.device) for name, value in condition.items()}
            frames.append(FrameInput(noise[number].to(options.device), one, start=model.start(one)))
        outputs = []
        guidance = make_guidance("none")
        for state in sample(model.denoiser, frames, levels, get_solver(SOLVER), guidance, effort.lanes):
            outputs.append(((state + 1) / 2).clamp(0, 1).cpu())
            tick(len(levels) - 1)
        return torch.stack(outputs)

    everything, drawn = range(len(truth)), effort.chosen(len(truth), effort.drawn)
    bicubic = enlarge(task.degrade(truth), (truth.shape[-2], truth.shape[-1])).clamp(0, 1)
    one_step = run(sigmas[[0, -1]], 0, everything)
    first = run(sigmas, 0, everything)
    total = first[drawn] + sum(run(sigmas, draw, drawn) for draw in range(1, effort.draws))
    return Outcome(bicubic, one_step, first, total / effort.draws, drawn)


def summary(truth: Tensor, outcome: Outcome, scale: int) -> dict[str, Figure]:
    """The figures of `MEASURES`, by name."""
    bicubic, one_step, first = (psnr(x, truth) for x in (outcome.bicubic, outcome.one_step, outcome.sample))
    of_mean = psnr(outcome.mean, truth[outcome.drawn])
    detail, detail_one, detail_true = (high_frequency_energy(x) for x in (outcome.sample, outcome.one_step, truth))
    reduced = area_average(outcome.sample, scale) - area_average(truth, scale)
    figures = (
        mean(bicubic),
        mean(one_step),
        mean(one_step - bicubic),
        mean(first - one_step),
        mean(of_mean - one_step[outcome.drawn]),
        mean(detail / detail_true),
        ratio(detail, detail_true),
        ratio(detail_one, detail_true),
        mean(reduced.double().square().mean((1, 2, 3)).sqrt()),
    )
    return dict(zip(MEASURES, figures, strict=True))


def mean(values: Tensor) -> Figure:
    """Over pictures, (N,), with the standard error of the mean."""
    return Figure(float(values.mean()), float(values.std() / len(values) ** 0.5))


def ratio(upper: Tensor, lower: Tensor) -> Figure:
    """Of two means over the same pictures, with its standard error to first order."""
    value = upper.mean() / lower.mean()
    spread = (upper - value * lower).std() / lower.mean()
    return Figure(float(value), float(spread / len(upper) ** 0.5))


def columns(spectra: Sequence[str]) -> list[str]:
    of_spectra = [name for spectrum in spectra for name in (spectrum, f"± ({spectrum})")]
    return ["scale", "measure", *of_spectra, "accepted", "passed"]


def rows(figures: Mapping[tuple[int, str], Mapping[str, Figure]], spectra: Sequence[str]) -> list[list[Cell]]:
    """One row per scale and measure; it has passed if the mean is within the bounds for every spectrum."""
    table: list[list[Cell]] = []
    for scale in dict.fromkeys(scale for scale, _ in figures):
        for name, accepted in MEASURES.items():
            row = [figures[scale, spectrum][name] for spectrum in spectra]
            low, high = accepted.get(scale, ANY) if isinstance(accepted, Mapping) else accepted
            passed = all(low <= figure.value <= high for figure in row)
            verdict: list[Cell] = [None, None] if (low, high) == ANY else [asked(low, high), "yes" if passed else "NO"]
            table.append([f"{scale}×", name, *(cell for f in row for cell in (f.value, f.error)), *verdict])
    return table


def asked(low: float, high: float) -> str:
    """Bounds in words."""
    if high == inf:
        return f"at least {low:g}"
    return f"{low:g} to {high:g}".replace("-", "−")


def notes(names: Sequence[str], effort: Effort, evaluations: int) -> list[str]:
    count, side = len(names), effort.side
    drawn = effort.chosen(count, effort.drawn)
    shown = [names[drawn[place]] for place in effort.chosen(len(drawn), effort.shown)]
    megapixels = evaluations * side**2 / 1e6
    return [
        f"{count} held-out pictures, each reduced by area average to a long side of about {LONG_SIDE} and cut to its "
        f"middle {side}×{side}; all outputs clipped to [0, 1]; ± is the standard error over the pictures",
        f"one step: the estimate at the highest noise level; sample: {effort.steps} {SOLVER} steps, one a picture",
        f"mean of samples: of {effort.draws}, for {len(drawn)} pictures spread evenly over the list, "
        "against one step on the same pictures",
        "a posterior's own sample lies 3.0 dB below its mean; "
        f"the mean of {effort.draws} lies {10 * np.log10(1 + 1 / effort.draws):.2f} dB below",
        f"posterior.png shows {', '.join(shown)}",
        f"{evaluations} evaluations of the network at {side}×{side}, {megapixels:.0f} megapixels in all",
    ]


def draw(path: Path, truth: Tensor, outcomes: Mapping[tuple[int, str], Outcome], spectrum: str, effort: Effort) -> None:
    """Write the picture: rows of pictures, a block per scale; columns input, one step, sample, mean, truth.

    Raises: UserError if it cannot be written.
    """
    labels = ["bicubic", "one step", f"sample, {effort.steps} steps", f"mean of {effort.draws}", "truth"]
    blocks = []
    for (scale, name), outcome in outcomes.items():
        if name != spectrum:
            continue
        places = effort.chosen(len(outcome.drawn), effort.shown)
        for place in places:
            number = outcome.drawn[place]
            images = (outcome.bicubic[number], outcome.one_step[number], outcome.sample[number], outcome.mean[place])
            titles = [f"{scale}x: {labels[0]}", *labels[1:]] if place == places[0] else [""] * len(labels)
            tiles = [tile(image, title) for image, title in zip((*images, truth[number]), titles, strict=True)]
            blocks.append(np.concatenate(tiles, 1))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", np.concatenate(blocks)[..., ::-1])[1].tobytes())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; name another folder") from error


def tile(image: Tensor, title: str) -> np.ndarray:
    """(3, H, W) in [0, 1] -> (H + margin, W, 3) uint8: the title, where there is one, on a dark strip above."""
    values = (image * 255).round().byte().permute(1, 2, 0).numpy()
    strip = np.full((20 if title else 2, values.shape[1], 3), 24, np.uint8)
    if title:
        cv2.putText(strip, title, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (235, 235, 235), 1, cv2.LINE_AA)
    return np.concatenate([strip, values])
