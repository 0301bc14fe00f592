"""Does a network trained on white noise take noise that follows the picture? A still moved by known motion, restored.

Nothing is guided, so every frame is a restoration by itself, and all that differs is its noise: independent white noise
as in training, white noise carried along the motion, or noise of a spectrum that the network is not told of.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from warped_diffusion.bench.harness import Cell, Options, Report, benchmark
from warped_diffusion.bench.posterior import Figure, mean, ratio
from warped_diffusion.bench.steadiness import TASK, Case, make_case, run
from warped_diffusion.bench.stills import TRUE, Effort, draw_frames
from warped_diffusion.bench.ways import Way
from warped_diffusion.diffusion.contract import Condition
from warped_diffusion.errors import UserError
from warped_diffusion.evaluate.moved import MakeMotion, still
from warped_diffusion.flow import Motion
from warped_diffusion.metrics import high_frequency_energy, psnr
from warped_diffusion.models import Model, load_model
from warped_diffusion.noise import SPECTRA

TOLD, OTHER = "white", "squared-exponential"

MOTIONS: Mapping[str, MakeMotion] = {
    "shift (1.37, 0.61) px": lambda frames, size: Motion.analytic(frames, size, shift=(1.37, 0.61)),
    "turn 1.5°": lambda frames, size: Motion.analytic(frames, size, rotation=1.5),
    "zoom 0.985": lambda frames, size: Motion.analytic(frames, size, zoom=0.985),
}
"""What happens to the still from each frame to the next; zooming in, the true clip would lose its detail by itself."""


@dataclass(frozen=True)
class Noise:
    """What a clip's frames begin with: the scheme's noise of that spectrum. The network is told of `TOLD` always."""

    scheme: str
    spectrum: str = TOLD


RESAMPLED, WARPED, WRONG = "white, resampled", "white, warped", f"{OTHER}, warped"
NOISES: Mapping[str, Noise] = {
    RESAMPLED: Noise("resample"),
    WARPED: Noise("gp"),
    WRONG: Noise("gp", OTHER),
}

EFFORT = Effort(frames=8, size=(192, 256), draws=5)
"""A frame of warped noise is one sample, however many follow it: on frames a quarter of this size PSNR would differ by
0.4 dB and detail by a fifth from seed to seed, and five seeds would not tell what is asked from chance."""


@dataclass(frozen=True)
class Figures:
    """Clips of several seeds, measured, each (draws,): PSNR in dB, high-frequency energy of all frames and the last."""

    psnr: Tensor
    detail: Tensor
    detail_last: Tensor


@benchmark("zero-shot")
def zero_shot(options: Options) -> Report:
    """Compare noises for a network told that it is white; `options.out` gets frames of every clip beside the report.

    Raises: UserError if there is no such model, or it does not know the spectra or cannot do the scale.
    """
    return compare(options, EFFORT, still(EFFORT.size))


def compare(options: Options, effort: Effort, picture: Tensor) -> Report:
    """The benchmark at any effort, on any picture that is `MARGIN` larger than the clip on each side."""
    model = told(load_model(options.model, TASK, torch.device(options.device)), TOLD)
    cases = {name: make_case(picture, effort, options.scale, motion) for name, motion in MOTIONS.items()}
    figures: dict[str, dict[str, Figures]] = {}
    shown: dict[str, dict[str, Tensor]] = {}
    with Progress(console=Console(stderr=True)) as progress:
        restorations = len(cases) * len(NOISES) * effort.draws
        bar = progress.add_task("restoring", total=restorations * effort.frames * effort.steps)

        def tick(count: int) -> None:
            progress.advance(bar, count)

        for name, case in cases.items():
            clips = {label: restored(case, noise, model, options, effort, tick) for label, noise in NOISES.items()}
            figures[name] = {label: measured(of, case) for label, of in clips.items()}
            figures[name][TRUE] = measured(case.truth[None], case)
            shown[name] = {label: of[0] for label, of in clips.items()} | {TRUE: case.truth}
    if options.out is not None:
        draw_frames(options.out, "zero-shot", shown, effort.frames)
    table = [row for motion, of_motion in figures.items() for row in rows(motion, of_motion)]
    return Report("zero-shot", COLUMNS, table, notes(figures, options, effort))


def told(model: Model, spectrum: str) -> Model:
    """The model, given noise of any spectrum and told that it has this one.

    Raises: UserError if the model does not know this spectrum.
    """
    if spectrum not in model.spectra:
        raise UserError(f"the model knows noise of spectrum {', '.join(model.spectra)}, not {spectrum!r}")
    index = model.spectra.index(spectrum)

    def denoiser(noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        return model.denoiser(noisy, sigma, {**condition, "spectrum": torch.full_like(condition["spectrum"], index)})

    return replace(model, denoiser=denoiser, spectra=tuple(SPECTRA), preferred=spectrum)


def restored(
    case: Case,
    noise: Noise,
    model: Model,
    options: Options,
    effort: Effort,
    tick: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """The clip once for each seed: (draws, N, 3, H, W) in [0, 1]."""
    seeded = [replace(options, seed=options.seed + draw, spectrum=noise.spectrum) for draw in range(effort.draws)]
    return torch.stack([run(case, Way(noise.scheme), model, asked, effort, tick) for asked in seeded])


def measured(clips: Tensor, case: Case) -> Figures:
    """All figures of the clips of several seeds, (draws, N, 3, H, W)."""
    detail = torch.stack([high_frequency_energy(clip) for clip in clips])
    right = torch.stack([psnr(clip, case.truth).mean() for clip in clips])
    return Figures(right, detail.mean(1), detail[:, -1])


def against(found: Figures, reference: Figures) -> tuple[Figure, Figure, Figure]:
    """PSNR over the reference's in dB, detail as a share of the reference's, and the last frame's; pairs are of a seed.

    Of detail the means are divided: a mean of ratios would be above 1 for two samples that are alike.
    """
    return (
        mean(found.psnr - reference.psnr),
        ratio(found.detail, reference.detail),
        ratio(found.detail_last, reference.detail_last),
    )


COLUMNS = (
    "motion",
    "noise",
    "PSNR, dB",
    "− resampled",
    "±",
    "detail",
    "/ resampled",
    "± of that",
    "detail, last frame",
    "last / resampled",
    "± of the last",
)


def rows(motion: str, figures: Mapping[str, Figures]) -> list[list[Cell]]:
    """The table's part for one motion; the true clip and the reference are not compared with the reference."""
    table: list[list[Cell]] = []
    for label, found in figures.items():
        row: list[Cell] = [motion, label]
        compared = against(found, figures[RESAMPLED]) if label in (WARPED, WRONG) else (None, None, None)
        for values, figure in zip((found.psnr, found.detail, found.detail_last), compared, strict=True):
            row += [float(values.mean()), *((None, None) if figure is None else (figure.value, figure.error))]
        table.append(row)
    return table


def verdicts(figures: Mapping[str, Figures]) -> list[tuple[str, bool]]:
    """What is asked under one motion: each bound with the figure found, and whether it holds."""
    gain, *details = against(figures[WARPED], figures[RESAMPLED])
    loss, *spoilt = against(figures[WRONG], figures[RESAMPLED])
    bounds = [(f"PSNR {gain.value:+.2f} ± {gain.error:.2f} dB (within 0.2)", abs(gain.value) <= 0.2)]
    for name, detail in zip(("high-frequency energy", "that of the last frame"), details, strict=True):
        text = f"{name} {detail.value:.3f} ± {detail.error:.3f} (0.9 to 1.1)"
        bounds.append((text, abs(detail.value - 1) <= 0.1))
    text = f"noise of the wrong spectrum {loss.value:+.1f} dB and {spoilt[0].value:.1f} times (at most −1, at least 2)"
    return [*bounds, (text, loss.value <= -1 and spoilt[0].value >= 2)]


def notes(figures: Mapping[str, Mapping[str, Figures]], options: Options, effort: Effort) -> list[str]:
    height, width = effort.size
    lines = [
        f"a still, {effort.frames} frames of {width}×{height}, reduced {options.scale} times, restored with the exact "
        f"motion in {effort.steps} {effort.solver} steps, without guidance; the network is told of {TOLD} noise always",
        f"figures are means of {effort.draws} seeds from {options.seed} on and of all frames; ± is the standard error "
        "over the seeds of the difference, or the quotient, with resampled noise",
        f"{RESAMPLED}: every frame has noise of its own; warped: carried along the motion",
        "detail: high-frequency energy, the mean square of a quarter of the Laplacian",
    ]
    for motion, of_motion in figures.items():
        lines += [f"{motion}: {text}: {'met' if met else 'NOT MET'}" for text, met in verdicts(of_motion)]
    return lines
