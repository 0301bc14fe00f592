"""Which image model restores the frames: its denoiser, and what a sampler must know of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from warped_diffusion.diffusion.contract import Condition, Denoiser
from warped_diffusion.errors import UserError
from warped_diffusion.models import embedded
from warped_diffusion.models.precision import best_dtype

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Model:
    """An image model ready to sample from.

    Attributes:
        denoiser: the network behind the contract, on its device.
        spectra: the noise spectra that it was trained with, in the order of its condition `spectrum`.
        sigma_range: (sigma_min, sigma_max) to sample with, given the condition of one frame.
        start: where the state starts under its noise, (C, H, W), given the condition of one frame; None for zero.
        channels: C.
        preferred: the spectrum to sample with unless another is asked for; None for the first.
    """

    denoiser: Denoiser
    spectra: tuple[str, ...] = ("white",)
    sigma_range: Callable[[Mapping[str, Tensor]], tuple[float, float]] = lambda _: (0.002, 80.0)
    start: Callable[[Mapping[str, Tensor]], Tensor | None] = lambda _: None
    channels: int = 3
    preferred: str | None = None


def load_model(model: str | Path | Denoiser | Model, task: str, device: torch.device) -> Model:
    """The model for a task: one of `MODELS` by name, a file of embedded weights by path, or any denoiser as it is.

    Raises: UserError if there is neither a model of that name nor a file there, or it was trained for another task.
    """
    if isinstance(model, Model):
        return model
    if not isinstance(model, str | Path):
        return Model(model)
    if model in MODELS:
        return MODELS[str(model)](task, device)
    if Path(model).is_file():
        return _from_weights(Path(model), task, device)
    raise UserError(f"no model {str(model)!r}: give one of {', '.join(MODELS)}, or the path of a .safetensors file")


def _embedded(task: str, device: torch.device) -> Model:
    path = WEIGHTS / f"{task}.safetensors"
    if not path.is_file():
        raise UserError(f"there is no embedded model for the task {task!r}: give --model a path")
    return _from_weights(path, task, device)


def _from_weights(path: Path, task: str, device: torch.device) -> Model:
    def start(condition: Condition) -> Tensor:
        return condition["picture"]

    denoiser = embedded.load(path, device, best_dtype(device))
    if denoiser.task != task:
        raise UserError(f"{path} was trained for {denoiser.task}, not for {task}: give --task {denoiser.task}")
    sigma_range = denoiser.conditioning.sigma_range
    return Model(denoiser, embedded.SPECTRA, sigma_range, start, preferred=embedded.PREFERRED)


MODELS: dict[str, Callable[[str, torch.device], Model]] = {"embedded": _embedded}
