"""How a clip is restored: what a caller may ask for, checked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from warped_diffusion.diffusion import Guidance
from warped_diffusion.diffusion.contract import Denoiser
from warped_diffusion.errors import UserError
from warped_diffusion.models import Model, PretrainedOptions, trained_for

DILATE, FEATHER = 4, 4
"""Pixels, where nothing else is said: drawn and tracked masks cut objects short by a few."""


@dataclass(frozen=True)
class Preset:
    """How much is spent on a frame: steps of a solver, and the share of them that guidance acts in."""

    steps: int
    solver: str
    guided: float = 1.0


PRESETS: dict[str, Preset] = {
    "draft": Preset(6, "euler", 0.5),
    "standard": Preset(11, "euler", 0.5),
    "best": Preset(20, "euler"),
}
"""Measured by `bench end-to-end`; docs/benchmarks.md says what each costs and gives."""


@dataclass(frozen=True)
class Options:
    """How a clip is restored; the keywords of `restore`.

    Attributes:
        task: a name in `tasks.TASKS`; None for what the model was trained for, super-resolution if it does not say.
        scale: how many times larger than the input, a whole number from 2 to 8; None for the model's own factor, for 4
            if it has none, or for a task that keeps the size.
        model: a name in `models.MODELS`, the path of a weights file, a `Model` or any `Denoiser`.
        noise: a name in `noise.SCHEMES`.
        fresh: share of the noise's variance that is drawn anew in every frame, 0 to 1.
        spectrum: a name in `noise.SPECTRA`; None for the model's own.
        guidance: a name in `diffusion.GUIDANCE`, or a `Guidance`, whose own strength then counts.
        strength: of the guidance, as a multiple of its calibrated default.
        detail: from 0, faithful and smooth, near the mean of all that the input allows (highest PSNR), to 1, a sample
            of it with all its detail. The first noise is scaled by 1 - (1 - detail)^2. None for the task's own.
        steps: denoiser evaluations a frame.
        solver: a name in `diffusion.SOLVERS`.
        flow: a name in `estimators.ESTIMATORS`, or "auto": RAFT where it can be had on a GPU, else "refined".
        lanes: the most frames in one batch of the denoiser, or "auto": on a CPU by their size, elsewhere found by
            trying, and never more than memory holds.
        seed: of all randomness; the same seed gives the same clip on any device, to rounding.
        shot: number of the first shot. Noise is keyed by (seed, shot), so a later shot of a clip can be restored alone.
        cuts: "auto" for shots that are found from the frames, "none", or the first frames of new shots, counted from 0.
            What is beyond the clip's end is not reached. A motion that is given has its own cuts: "auto" then adds
            none, and what contradicts them is refused.
        device: "cpu", "cuda", ...; None for the first GPU if there is one. Several share a clip, each with a replica of
            the network: "cuda:0,cuda:1", or "cpu,cpu" for two processes of as many threads as this one has.
        consistency: whether estimates are projected towards the input at every step (pixels) or some (latents), so
            that a model never trained for the task restores; None for where the model is not told of the input.
        tile: side, pixels, of the tiles that larger frames are restored in, "none", or "auto" for the model's own.
        decoded_guidance: for models of latents, from 0 to 2: how strongly decoded frames are once more brought to
            agreement along the flow, as a multiple of the calibrated default; 0 for not at all.
        pretrained: prompt, precision and off-loading of a pretrained model; None for its defaults.
        blur: deviation in pixels of the Gaussian that deblurring undoes; None for 1.5, or for a task that has none.
        dilate: pixels by which a mask is grown, for those that follow an object closely; None for `DILATE`.
        feather: pixels around the grown mask in which the restored frame passes into the input; None for `FEATHER`.
        preset: a name in `PRESETS`, in the place of steps, solver and `guided`; None for those.
        guided: share of the steps, from 0 to 1, in which guidance acts: the last ones. Early ones say little of a frame
            that later ones do not say again.
    """

    task: str | None = None
    scale: int | None = None
    model: "str | Path | Denoiser | Model" = "embedded"
    noise: str = "gp"
    spectrum: str | None = None
    guidance: str | Guidance = "denoised"
    strength: float = 1.0
    detail: float | None = None
    steps: int = 20
    solver: str = "euler"
    flow: str = "auto"
    lanes: int | str = "auto"
    seed: int = 0
    device: str | None = None
    fresh: float = 0.0
    dilate: int | None = None
    feather: int | None = None
    cuts: str | Sequence[int] = "auto"
    shot: int = 0
    consistency: bool | None = None
    tile: int | str = "auto"
    decoded_guidance: float = 0.0
    pretrained: PretrainedOptions | None = None
    blur: float | None = None
    preset: str | None = None
    guided: float = 1.0

    @property
    def rim(self) -> tuple[int, int]:
        """Pixels by which masks are grown, and of what is feathered around them."""
        return DILATE if self.dilate is None else self.dilate, FEATHER if self.feather is None else self.feather


def settled(options: Options) -> Options:
    """With the task and the factor that the model was trained for, where the caller names none, and a preset's steps.

    Raises: UserError for a model that cannot be read, or a preset that there is not, or that says otherwise.
    """
    options = _unfolded(options)
    if options.task is not None and options.scale is not None:
        return options
    task, scale = trained_for(options.model)
    chosen = options.task or task or "super-resolution"
    return replace(options, task=chosen, scale=scale if options.scale is None and chosen == task else options.scale)


def _unfolded(options: Options) -> Options:
    """What the preset stands for, in its place."""
    if options.preset is None:
        return options
    if options.preset not in PRESETS:
        raise UserError(f"no preset is called {options.preset!r}: choose one of {', '.join(PRESETS)}")
    chosen = PRESETS[options.preset]
    for name, usual in (("steps", Options.steps), ("solver", Options.solver), ("guided", Options.guided)):
        if getattr(options, name) not in (usual, getattr(chosen, name)):
            raise UserError(
                f"preset {options.preset} takes {chosen.steps} steps of {chosen.solver}, but {name} is "
                f"{getattr(options, name)!r}: give one or the other"
            )
    return replace(options, preset=None, **vars(chosen))


def choose_device(name: str | None) -> torch.device:
    """The device of that name, the first of several, or the first GPU if there is one.

    Raises: UserError if it is not there.
    """
    return choose_devices(name)[0]


def choose_devices(names: str | None) -> list[torch.device]:
    """The devices of names with commas between; the first GPU, or else the CPU, for None.

    Raises: UserError if one is not there, or is given twice but for the CPU, or if there are both CPUs and GPUs.
    """
    given = (names or ("cuda" if torch.cuda.is_available() else "cpu")).split(",")
    devices = []
    for name in given:
        try:
            device = torch.device(name.strip())
            torch.empty(1, device=device)
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"device {name!r} cannot be used here: give cpu, or leave it out") from error
        if device.type != "cpu" and device in devices:
            raise UserError(f"device {name!r} is given twice: name each GPU once, as in cuda:0,cuda:1")
        devices.append(device)
    if len({device.type for device in devices}) > 1:
        raise UserError(f"devices that share a clip are of one kind, got {names!r}")
    return devices


def temperature(detail: float) -> float:
    """Scale of the first noise. Between 0.9 and 1 most of the detail comes in, hence the square.

    Raises: UserError for a detail that is not from 0 to 1.
    """
    if not 0 <= detail <= 1:
        raise UserError(f"detail is from 0, faithful and smooth, to 1, got {detail!r}")
    return 1 - (1 - detail) ** 2


def unguided_steps(guided: float, steps: int) -> int:
    """How many steps of a frame guidance lets pass.   Raises: UserError for a share that is not from 0 to 1."""
    if not 0 <= guided <= 1:
        raise UserError(f"guided is the share of the steps in which guidance acts, from 0 to 1, got {guided!r}")
    return round((1 - guided) * steps)


def choose_lanes(lanes: int | str, size: tuple[int, int], device: torch.device) -> int:
    """The number of frames in a batch: as asked, or for "auto" as many as hold 2 megapixels, at most 16; 2^17 on a CPU.

    Raises: UserError for anything else than a whole number from 1 up or "auto".
    """
    if lanes == "auto":
        budget = 2**21 if device.type == "cuda" else 2**17
        return max(1, min(16, budget // (size[0] * size[1])))
    if isinstance(lanes, bool) or not isinstance(lanes, int) or lanes < 1:
        raise UserError(f'lanes is a whole number from 1 up, or "auto", got {lanes!r}')
    return lanes


def check_cuts(cuts: str | Sequence[int]) -> frozenset[int] | None:
    """The first frames of new shots: nothing for "none", None for "auto".   Raises: UserError for anything else."""
    if isinstance(cuts, str) and cuts in ("auto", "none"):
        return None if cuts == "auto" else frozenset()
    numbers = not isinstance(cuts, str) and all(isinstance(cut, int) and not isinstance(cut, bool) for cut in cuts)
    if not numbers or any(cut < 1 for cut in cuts):  # type: ignore[operator]
        raise UserError(f'cuts are "auto", "none" or the first frames of new shots, each from 1 up, got {cuts!r}')
    return frozenset(cuts)  # type: ignore[arg-type]
