"""The paper's first table in miniature: does a network that knew white noise lose by being taught correlated noise?

A small network learns to enlarge under white noise. Then it is trained for a tenth as long again, once under the
squared-exponential spectrum and once, its twin, under white noise.   [paper, table 1]
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from warped_diffusion.bench import posterior
from warped_diffusion.bench.harness import Cell, Options, Report, benchmark
from warped_diffusion.bench.posterior import mean, ratio
from warped_diffusion.evaluate.moved import SAMPLE
from warped_diffusion.metrics import high_frequency_energy, psnr
from warped_diffusion.models import Model, embedded
from warped_diffusion.training import TrainConfig, train
from warped_diffusion.video import VideoReader

WHITE, CORRELATED = "white", "squared-exponential"
SCALE = 4

TWIN, TUNED = "trained on, white", "fine-tuned, squared-exponential"
BEFORE = "not fine-tuned, squared-exponential"

WITHIN_DB, WITHIN_DETAIL = 0.2, 0.1
"""What the paper's claim is taken to mean: PSNR, dB, and high-frequency energy, a share."""

BROKEN_DB, BROKEN_DETAIL = 1.0, 2.0
"""What counts as failing on a noise that was never seen."""

LARGER, FASTER = 2, 1.5
"""Batch and learning rate of the second part, against the first: few steps must teach all that there is to learn."""

ONE_STEP, SAMPLED = "one step PSNR, dB", "sample PSNR, dB"
DETAIL = "high frequencies of samples / truth, ratio of means"
COLUMNS = ("network, noise", "measure", "value", "±")


@dataclass(frozen=True)
class Effort:
    """How long is trained, and how much is measured.

    Attributes:
        steps: under white noise; a tenth as many follow, of `LARGER` times the batch.
        draws: samples of each picture.
        evaluations: of the network for each sample.
    """

    steps: int = 6000
    batch: int = 16
    crop: int = 48
    network: Mapping[str, tuple[int, ...]] = field(
        default_factory=lambda: {"channels": (32, 64), "depths": (2, 3), "depths_up": (2, 0)}
    )
    side: int = 128
    draws: int = 6
    evaluations: int = 50
    pictures: int | None = None


@dataclass(frozen=True)
class Case:
    """A trained network, the noise that it is sampled under and the noise that it is told of."""

    weights: Path
    noise: str
    told: str

    def model(self, device: torch.device) -> Model:
        """Ready to sample; of a spectrum that the network is not told it is told the other's place in the list."""
        denoiser = embedded.load(self.weights, device)
        place = embedded.SPECTRA.index(self.told)
        spectra = tuple(self.noise if i == place else "" for i in range(len(embedded.SPECTRA)))
        return Model(denoiser, spectra, denoiser.conditioning.sigma_range, lambda condition: condition["picture"])


@benchmark("fine-tuning")
def fine_tuning(options: Options) -> Report:
    """Trains and compares; `options.pictures` is a folder of packed pictures, the shipped clip's if there is none.

    Raises: UserError if the folder holds none.
    """
    return compare(options, Effort())


def compare(options: Options, effort: Effort) -> Report:
    """The benchmark at any effort."""
    with _pictures(options, effort) as (source, names, truth), TemporaryDirectory() as folder:
        cases = trained(source, Path(folder), effort, options)
        found = {name: measured(case, truth, effort, options) for name, case in cases.items()}
    detail = high_frequency_energy(truth)
    table = [row for name, values in found.items() for row in rows(name, values, detail)]
    return Report("fine-tuning", COLUMNS, table, notes(found, names, effort, options))


@contextmanager
def _pictures(options: Options, effort: Effort) -> Iterator[tuple[str, list[str], Tensor]]:
    """A source to train on, and names and pictures to measure on, (N, 3, side, side) in [0, 1]."""
    if options.pictures is not None:
        names, truth = posterior.held_out(
            options.pictures, posterior.Effort(pictures=effort.pictures, side=effort.side)
        )
        yield str(options.pictures), names, truth
        return
    with TemporaryDirectory() as folder, VideoReader(SAMPLE) as reader:
        frames = torch.stack(list(reader))[::6]
        cut = frames.shape[-1] * 3 // 5
        for number, frame in enumerate(frames[..., :cut]):
            values = (frame * 255).round().byte().permute(1, 2, 0).numpy()
            cv2.imwrite(str(Path(folder) / f"{number}.png"), values[..., ::-1])
        pieces = frames[:: len(frames) - 1, :, :, cut:].unfold(2, effort.side, effort.side)
        pieces = pieces.unfold(3, effort.side, effort.side).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        yield folder, [f"sample-{number}" for number in range(len(pieces))], pieces[: effort.pictures]


def trained(source: str, folder: Path, effort: Effort, options: Options) -> dict[str, Case]:
    """What is compared, by name."""
    first = TrainConfig(
        pictures=source,
        out=str(folder / "white"),
        steps=effort.steps,
        batch=effort.batch,
        crop=effort.crop,
        scales=(SCALE,),
        spectra=(WHITE,),
        drop=0.0,
        level_mean=1.0,
        level_spread=1.8,
        whiten=0.5,
        seed=options.seed,
        threads=torch.get_num_threads(),
        checkpoint_every=effort.steps,
        network=dict(effort.network),
    )
    more = replace(
        first,
        steps=max(1, effort.steps // 10),
        batch=LARGER * effort.batch,
        warmup=max(1, effort.steps // 100),
        rate=FASTER * first.rate,
    )
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("training", total=effort.steps + 2 * more.steps)

        def report(*_: object) -> None:
            progress.advance(bar)

        white = train(first, report)
        runs = {
            spectrum: replace(more, out=str(folder / f"{spectrum}-more"), spectra=(spectrum,), warm_start=str(white))
            for spectrum in (WHITE, CORRELATED)
        }
        weights = {spectrum: train(run, report) for spectrum, run in runs.items()}
    return {
        TWIN: Case(weights[WHITE], WHITE, WHITE),
        TUNED: Case(weights[CORRELATED], CORRELATED, CORRELATED),
        BEFORE: Case(white, CORRELATED, WHITE),
    }


def measured(case: Case, truth: Tensor, effort: Effort, options: Options) -> dict[str, Tensor]:
    """Of each picture, (N,), the mean over its draws: PSNR of the estimate and of samples, their energy as `DETAIL`.

    A draw's noise is filtered from the same white values in every case, so that cases are compared in pairs.
    """
    drawn = posterior.Effort(side=effort.side, steps=effort.evaluations, draws=1, drawn=1)
    model = case.model(torch.device(options.device))
    found: dict[str, list[Tensor]] = {name: [] for name in (ONE_STEP, SAMPLED, DETAIL)}
    for draw in range(effort.draws):
        seeded = replace(options, seed=options.seed + draw)
        outcome = posterior.run_case(model, truth, SCALE, case.noise, drawn, seeded, lambda _: None, stream=0)
        found[ONE_STEP].append(psnr(outcome.one_step, truth))
        found[SAMPLED].append(psnr(outcome.sample, truth))
        found[DETAIL].append(high_frequency_energy(outcome.sample))
    return {name: torch.stack(values).mean(0) for name, values in found.items()}


def rows(name: str, found: Mapping[str, Tensor], truth: Tensor) -> list[list[Cell]]:
    """A row per measure: the mean over pictures; of energies, with the truth's (N,), the ratio of means."""
    figures = {
        measure: ratio(values, truth) if measure == DETAIL else mean(values) for measure, values in found.items()
    }
    return [[name, measure, figure.value, figure.error] for measure, figure in figures.items()]


def verdicts(found: Mapping[str, Mapping[str, Tensor]]) -> list[tuple[str, bool]]:
    """The paper's claim: each part with the figure found, and whether it holds.

    Errors are those of differences from the twin on the same picture: how hard the pictures are is no part of them.
    """
    twin, tuned, before = (found[name] for name in (TWIN, TUNED, BEFORE))
    lines = []
    for measure in (ONE_STEP, SAMPLED):
        gap = mean(tuned[measure] - twin[measure])
        said = f"fine-tuned − twin, {measure}: {gap.value:+.2f} ± {gap.error:.2f} (within {WITHIN_DB})"
        lines.append((said, abs(gap.value) <= WITHIN_DB))
    share = ratio(tuned[DETAIL], twin[DETAIL])
    said = f"fine-tuned / twin, high frequencies: {share.value:.3f} ± {share.error:.3f} (within {WITHIN_DETAIL:.0%})"
    lines.append((said, abs(share.value - 1) <= WITHIN_DETAIL))
    fall, left = mean(before[SAMPLED] - twin[SAMPLED]), ratio(before[DETAIL], twin[DETAIL])
    broken = fall.value <= -BROKEN_DB or not 1 / BROKEN_DETAIL <= left.value <= BROKEN_DETAIL
    said = (
        f"not fine-tuned: sample PSNR {fall.value:+.2f} ± {fall.error:.2f} dB, high frequencies {left.value:.2f} ± "
        f"{left.error:.2f} of the twin's (−{BROKEN_DB:g} dB, or {BROKEN_DETAIL:g} times as many or as few)"
    )
    return [*lines, (said, broken)]


def notes(found: Mapping[str, Mapping[str, Tensor]], names: list[str], effort: Effort, options: Options) -> list[str]:
    source = "packed pictures" if options.pictures else "the left three fifths of every sixth frame of the shipped clip"
    judged = "held-out pictures" if options.pictures else "pieces of the right two fifths of its frames"
    lines = [
        f"{effort.steps} steps of {effort.batch} crops of {effort.crop} pixels under white noise, {SCALE}×, then "
        f"{max(1, effort.steps // 10)} more of {LARGER * effort.batch}, each from the same weights: from {source}",
        f"measured on {len(names)} {judged}, {effort.side}×{effort.side}, {effort.draws} samples each of "
        f"{effort.evaluations} {posterior.SOLVER} steps; ± is the standard error over pictures",
        f"{BEFORE}: under correlated noise of the same variance, and told that it is white, as it knows no other",
    ]
    return lines + [f"{text}: {'met' if met else 'NOT MET'}" for text, met in verdicts(found)]
