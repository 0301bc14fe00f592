"""What a model that was never trained for a task makes of it: the embedded network without its condition, held to y.

The network is a prior of pictures alone, all that it learns of the input is what `diffusion.Consistent` projects.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from warped_diffusion.bench.harness import Cell, Options, Report, benchmark
from warped_diffusion.bench.posterior import Effort, Figure, asked, held_out, mean, ratio, tile
from warped_diffusion.diffusion import (
    Condition,
    Consistent,
    FrameInput,
    Operator,
    get_solver,
    karras_sigmas,
    make_guidance,
    sample,
)
from warped_diffusion.errors import UserError
from warped_diffusion.masks import random_masks
from warped_diffusion.metrics import high_frequency_energy, psnr
from warped_diffusion.models import Model, embedded
from warped_diffusion.models.model import WEIGHTS
from warped_diffusion.models.precision import best_dtype
from warped_diffusion.models.prior import prior
from warped_diffusion.noise import grid_noise
from warped_diffusion.tasks import Deblurring, Inpainting, SuperResolution, enlarge

SIDE, STEPS, SOLVER, LANES = 128, 30, "dpmpp-2m", 8
SHOWN = 3  # rows of consistency.png for every task
SCALE = 4
DEBLURRING = Deblurring()


@dataclass(frozen=True)
class Case:
    """A task and what is measured of it.

    Attributes:
        trained: the task of the embedded network that serves as the prior.
        condition: `picture`, the start, `measurement` and what the operator needs, of pictures in [0, 1] and a seed.
        operator: A of that condition.
        noise: the deviation of the measurement's noise, model units.
        baseline: what `picture` is called.
        bounds: what is accepted, by the names of `MEASURES`.
    """

    trained: str
    condition: Callable[[Tensor, int], Condition]
    operator: Callable[[Condition], Operator]
    baseline: str
    noise: float = 0.0
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)


AGREES = "degraded sample − input, RMSE"
UNDER = "PSNR under the baseline, dB"
DETAIL, POOLED = "high frequencies / truth, mean of ratios", "high frequencies / truth, ratio of means"
MEASURES = ("baseline PSNR, dB", "sample PSNR, dB", UNDER, DETAIL, POOLED, AGREES)
ASKED = {AGREES: (0.0, 0.01), DETAIL: (0.5, 2.0), POOLED: (0.5, 2.0)}


def reduced(pictures: Tensor, seed: int) -> Condition:
    task = SuperResolution(SCALE)
    low = task.degrade(pictures)
    return {**task.condition(low), "measurement": low * 2 - 1}


def holed(pictures: Tensor, seed: int) -> Condition:
    """The holes that inpainting is trained with, whole frames left out."""
    masks = random_masks(len(pictures), (SIDE, SIDE), np.random.default_rng(seed), whole=0)
    task = Inpainting()
    given = task.degrade(pictures, masks)
    return {**task.condition(given, masks), "measurement": given * 2 - 1}


def blurred(pictures: Tensor, seed: int) -> Condition:
    """With white noise of the deviation that the task reckons with."""
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(seed))
    given = DEBLURRING.degrade(pictures) + DEBLURRING.noise / 2 * noise
    return {**DEBLURRING.condition(given), "measurement": given * 2 - 1}


CASES: Mapping[str, Case] = {
    f"super-resolution {SCALE}x": Case(
        "super-resolution",
        reduced,
        SuperResolution(SCALE).operator,
        "bicubic",
        bounds={**ASKED, UNDER: (-inf, 2.5)},
    ),
    "inpainting": Case("inpainting", holed, Inpainting().operator, "smooth fill", bounds=ASKED),
    f"deblurring {DEBLURRING.blur} px": Case(
        "super-resolution", blurred, DEBLURRING.operator, "input", DEBLURRING.noise
    ),
}


@benchmark("consistency")
def consistency(options: Options) -> Report:
    """Figures on the held-out pictures; `options.out` gets consistency.png beside the report.

    Raises: UserError if `options.pictures` is not given or holds none, or there is no such spectrum.
    """
    return judge(options, None, STEPS)


def judge(options: Options, count: int | None, steps: int) -> Report:
    """The benchmark on `count` of the pictures, None for all of them."""
    if options.pictures is None:
        raise UserError("the benchmark 'consistency' needs photographs: give --pictures, the folder of packed pictures")
    spectra = [name for name in embedded.SPECTRA if options.spectrum in (None, name)]
    if not spectra:
        raise UserError(f"the model knows noise of spectrum {', '.join(embedded.SPECTRA)}, not {options.spectrum!r}")
    names, truth = held_out(options.pictures, Effort(pictures=count, side=SIDE))
    table: list[list[Cell]] = []
    shown: list[np.ndarray] = []
    for name, case in CASES.items():
        condition = case.condition(truth, options.seed)
        outcomes = {spectrum: restore(case, condition, spectrum, steps, options) for spectrum in spectra}
        figures = [summary(case, condition, outcome, truth) for outcome in outcomes.values()]
        table += rows(name, case, figures)
        shown += strips(name, condition, outcomes, truth)
    if options.out is not None:
        write(options.out / "consistency.png", shown)
    columns = ["task", "measure", *(cell for name in spectra for cell in (name, f"± ({name})")), "accepted", "passed"]
    return Report("consistency", columns, table, notes(names, steps))


def restore(case: Case, condition: Condition, spectrum: str, steps: int, options: Options) -> Tensor:
    """One sample a picture, (N, 3, H, W) in [0, 1]."""
    device = torch.device(options.device)
    denoiser = embedded.load(WEIGHTS / f"{case.trained}.safetensors", device, best_dtype(device))
    model: Model = prior(denoiser)
    consistent = Consistent(model.denoiser, case.operator, case.noise)
    index = torch.tensor(model.spectra.index(spectrum))
    noise = grid_noise(spectrum, condition["picture"].shape, torch.Generator().manual_seed(options.seed))
    frames = []
    for number, of_frame in enumerate(noise):
        one = {name: value[number].to(device) for name, value in condition.items()} | {"spectrum": index.to(device)}
        frames.append(FrameInput(of_frame.to(device), one, start=model.start(one)))
    levels = karras_sigmas(steps, *model.sigma_range(condition))
    states = sample(consistent, frames, levels, get_solver(SOLVER), make_guidance("none"), LANES)
    return torch.stack([((state + 1) / 2).clamp(0, 1).cpu() for state in states])


def baseline(condition: Condition) -> Tensor:
    """Bicubic, the smooth fill or the input, in [0, 1]."""
    if "scale" in condition:
        low = (condition["measurement"] + 1) / 2
        return enlarge(low, (condition["picture"].shape[-2], condition["picture"].shape[-1])).clamp(0, 1)
    return ((condition["picture"] + 1) / 2).clamp(0, 1)


def summary(case: Case, condition: Condition, outcome: Tensor, truth: Tensor) -> dict[str, Figure]:
    """The figures of `MEASURES`; of the holes alone where there are some. RMSE is in [0, 1], as PSNR is."""
    hole = condition["mask"][:, 0] if "mask" in condition else None
    base, result = (psnr(x, truth, hole) for x in (baseline(condition), outcome))
    detail, detail_true = (high_frequency_energy(x, hole) for x in (outcome, truth))
    gap = (case.operator(condition).apply(outcome * 2 - 1) - condition["measurement"]).double() / 2
    shown = torch.ones_like(gap) if hole is None else (1 - condition["mask"]).expand_as(gap)
    rmse = ((gap.square() * shown).sum((1, 2, 3)) / shown.sum((1, 2, 3))).sqrt()
    figures = (mean(base), mean(result), mean(base - result), mean(detail / detail_true), ratio(detail, detail_true))
    return dict(zip(MEASURES, (*figures, mean(rmse)), strict=True))


def rows(name: str, case: Case, figures: Sequence[Mapping[str, Figure]]) -> list[list[Cell]]:
    """One row a measure; it has passed if the mean is within the bounds for every spectrum."""
    table: list[list[Cell]] = []
    for measure in MEASURES:
        of_spectra = [figure[measure] for figure in figures]
        values: list[Cell] = [cell for f in of_spectra for cell in (f.value, f.error)]
        verdict: list[Cell] = [None, None]
        if measure in case.bounds:
            low, high = case.bounds[measure]
            passed = all(low <= f.value <= high for f in of_spectra)
            verdict = [asked(low, high), "yes" if passed else "NO"]
        table.append([name, measure.replace("the baseline", case.baseline), *values, *verdict])
    return table


def notes(names: Sequence[str], steps: int) -> list[str]:
    return [
        f"{len(names)} held-out pictures, each reduced by area average and cut to its middle {SIDE}×{SIDE}; "
        "± is the standard error over the pictures",
        f"the embedded network with its condition dropped, that of super-resolution, or of inpainting for inpainting; "
        f"{steps} {SOLVER} steps, projected at each, one sample a picture, clipped to [0, 1]",
        "inpainting: PSNR and high frequencies in the holes alone, RMSE outside",
        f"deblurring: a Gaussian of {DEBLURRING.blur} px, then white noise of {DEBLURRING.noise * 255 / 2:g} level of "
        f"255, an RMSE of {DEBLURRING.noise / 2:.4f}",
    ]


def strips(name: str, condition: Condition, outcomes: Mapping[str, Tensor], truth: Tensor) -> list[np.ndarray]:
    """A row of tiles for each of `SHOWN` pictures spread over the list: where it starts, samples, the truth."""
    start = baseline(condition)
    strips = []
    for place in range(min(SHOWN, len(truth))):
        number = (2 * place + 1) * len(truth) // (2 * min(SHOWN, len(truth)))
        images = [start[number], *(outcome[number] for outcome in outcomes.values()), truth[number]]
        titles = [name, *outcomes, "truth"] if place == 0 else [""] * len(images)
        tiles = [
            tile(image.repeat_interleave(2, -1).repeat_interleave(2, -2), title)
            for image, title in zip(images, titles, strict=True)
        ]
        strips.append(np.concatenate(tiles, 1))
    return strips


def write(path: Path, strips: Sequence[np.ndarray]) -> None:
    """Raises: UserError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", np.concatenate(strips)[..., ::-1])[1].tobytes())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; name another folder") from error
