"""Which image model restores the frames: its denoiser, and what a sampler must know of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from warped_diffusion.diffusion.contract import Codec, Condition, Denoiser
from warped_diffusion.errors import UserError
from warped_diffusion.models import embedded
from warped_diffusion.models.precision import best_dtype
from warped_diffusion.models.pretrained.options import PretrainedOptions

WEIGHTS = Path(__file__).parent / "weights"

BY_PRIOR = ("deblurring",)
"""Tasks that no embedded network was trained for and that the embedded prior does by data consistency."""


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
        codec: between pictures and what the denoiser works on; None for a model of pixels.
        prepare: from the task's condition, of B frames, to the denoiser's.
        levels: the model's own noise levels, falling to 0, (steps + 1,), given the steps and the (height, width) of
            what is sampled; None if any grid over `sigma_range` will do.
        multiple: what the sides of a restored frame must be multiples of, pixels.
        tile: pixels a side of the frames that it was made for: much larger ones are cut into tiles of about that side;
            None for any size.
        sees_input: whether the denoiser's condition tells it of the input; else only data consistency restores.
    """

    denoiser: Denoiser
    spectra: tuple[str, ...] = ("white",)
    sigma_range: Callable[[Mapping[str, Tensor]], tuple[float, float]] = lambda _: (0.002, 80.0)
    start: Callable[[Mapping[str, Tensor]], Tensor | None] = lambda _: None
    channels: int = 3
    preferred: str | None = None
    codec: Codec | None = None
    prepare: Callable[[Condition], Mapping[str, Tensor]] = lambda condition: condition
    levels: Callable[[int, tuple[int, int]], Tensor] | None = None
    multiple: int = 1
    tile: int | None = None
    sees_input: bool = True


def load_model(
    model: str | Path | Denoiser | Model,
    task: str,
    device: torch.device,
    pretrained: PretrainedOptions | None = None,
    scale: int | None = None,
    tile: int | str = "auto",
) -> Model:
    """The model for a task: by name one of `MODELS`, by path a file of embedded weights, or any denoiser as it is.

    A folder in diffusers' format or a hub name, "owner/name", is a pretrained model, for which are `pretrained`, the
    `scale` of super-resolution, and the side of the `tile`s, pixels, that its frames are encoded and decoded in.
    Raises: UserError if there is no model of that name, file or folder, or it was trained for another task.
    """
    if isinstance(model, Model):
        return model
    if not isinstance(model, str | Path):
        return Model(model)
    if model in MODELS:
        return MODELS[str(model)](task, device)
    if Path(model).is_file():
        return _from_weights(Path(model), task, device)
    if is_checkpoint(model):
        # diffusers takes seconds to import
        from warped_diffusion.models.pretrained.loading import load_pretrained

        return load_pretrained(model, task, device, pretrained, scale, tile)
    raise UserError(
        f"no model {str(model)!r}: give one of {', '.join(MODELS)}, the path of a .safetensors file or of a folder in "
        "diffusers' format, or a name on the model hub"
    )


def trained_for(model: object) -> tuple[str | None, int | None]:
    """The task and the factor that a file of embedded weights or a pretrained model was trained for, where it says so.

    Raises: UserError if it cannot be read.
    """
    if not isinstance(model, str | Path) or model in MODELS:
        return None, None
    if Path(model).is_file():
        return embedded.trained_for(Path(model)), None
    if is_checkpoint(model):
        from warped_diffusion.models.pretrained.checkpoint import trained_for as checkpoint_trained_for

        return checkpoint_trained_for(model)
    return None, None


def is_checkpoint(model: object) -> bool:
    """Whether a pretrained model is meant: a folder, or the form of a hub name, "owner/name", and no folder here."""
    if not isinstance(model, str | Path):
        return False
    parts = str(model).split("/")
    hub = isinstance(model, str) and len(parts) == 2 and all(part.strip(".~") for part in parts)
    return Path(model).is_dir() or (hub and not Path(parts[0]).exists() and not parts[1].endswith(".safetensors"))


def _embedded(task: str, device: torch.device) -> Model:
    if task in BY_PRIOR:
        return _embedded_prior(task, device)
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
    return Model(denoiser, embedded.SPECTRA, sigma_range, start, preferred=embedded.PREFERRED, tile=embedded.TILE)


def _embedded_prior(task: str, device: torch.device) -> Model:
    # It is made of a `Model`, which stands here.
    from warped_diffusion.models.prior import prior

    return prior(embedded.load(WEIGHTS / "super-resolution.safetensors", device, best_dtype(device)))


MODELS: dict[str, Callable[[str, torch.device], Model]] = {"embedded": _embedded, "embedded-prior": _embedded_prior}
