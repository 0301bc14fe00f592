"""The embedded network behind the denoiser contract, with its preconditioning and its file.   [DESIGN §8]"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from warped_diffusion.diffusion import precondition
from warped_diffusion.diffusion.contract import Condition
from warped_diffusion.errors import UserError
from warped_diffusion.models.conditioning import LABELS, get_conditioning
from warped_diffusion.models.network import UNet

SPECTRA = ("white", "squared-exponential")
PREFERRED = "squared-exponential"
"""At 8x samples under it were 1 dB nearer the truth than under white noise, and steadier (docs/design.md)."""

TILE = 1024
"""Pixels a side: what frames much larger are cut into. It keeps the largest features within 64 MiB a frame."""


class EmbeddedDenoiser(nn.Module):
    r"""An image model that restores what is missing from a base picture c: an enlargement, or a picture with a fill.

    It denoises the residual over the base, u - c, with EDM's preconditioning:

        h(u; s, c) = c + c_skip (u - c) + c_out F(x; s, ...)                                          [EDM, eq. 7]

    where the residual's standard deviation, of a frame or of a pixel, the inputs x and the labels are the task's: see
    `Conditioning`, which also names what the condition holds. `spectrum` in it is an index into `SPECTRA`.
    Any frame size: it is padded inside to a multiple of the network's stride.

    Raises: UserError for a task that has no conditioning.
    """

    def __init__(self, architecture: dict[str, tuple[int, ...]] | None = None, task: str = "super-resolution") -> None:
        super().__init__()
        self.architecture, self.task = architecture or {}, task
        self.conditioning = get_conditioning(task)
        self.network = UNet(self.conditioning.channels, 3, LABELS, **self.architecture)  # type: ignore[arg-type]

    def forward(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Denoise a batch: `Denoiser`'s contract.   (B, 3, H, W), (B,) -> (B, 3, H, W) float32."""
        picture, s = condition["picture"], sigma[:, None, None, None]
        s_data = self.conditioning.sigma_data(condition)
        residual = noisy - picture
        inputs = self.conditioning.inputs(residual, s, condition)
        prediction = self.predict(inputs, self.conditioning.labels(sigma, condition))
        linear = precondition.c_skip(s, s_data) * residual
        return picture + linear + precondition.c_out(s, s_data) * prediction

    def predict(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """The bare network F in its own precision, on frames of any size: (B, C, H, W) -> (B, 3, H, W) float32."""
        height, width = inputs.shape[-2:]
        stride = self.network.stride
        inputs = F.pad(inputs, (0, -width % stride, 0, -height % stride), mode="replicate")
        dtype = next(self.network.parameters()).dtype
        inputs = inputs.to(dtype=dtype, memory_format=torch.channels_last)
        return self.network(inputs, labels.to(dtype))[..., :height, :width].float()


def save(denoiser: EmbeddedDenoiser, path: Path, about: dict[str, object]) -> None:
    """Writes the weights in half precision, with `about`, the task and the architecture as the file's metadata."""
    tensors = {name: value.detach().half().contiguous() for name, value in denoiser.network.state_dict().items()}
    metadata = {"architecture": json.dumps(denoiser.architecture), "task": denoiser.task, "about": json.dumps(about)}
    save_file(tensors, path, metadata=metadata)


def load(path: Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> EmbeddedDenoiser:
    """An `EmbeddedDenoiser` from its file.   Raises: UserError if it is not such a file."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - not a mapping
        architecture = {name: tuple(value) for name, value in json.loads(metadata["architecture"]).items()}
        # files from before there was a second task do not say it here
        denoiser = EmbeddedDenoiser(architecture, metadata.get("task", "super-resolution"))
        denoiser.network.load_state_dict(state)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} is not a file of embedded weights: {error}") from error
    convert_conv2d_weight_memory_format(denoiser, torch.channels_last)
    return denoiser.eval().requires_grad_(False).to(device, dtype)


def trained_for(path: Path) -> str | None:
    """The task of the network in a file; None if that is no file of embedded weights."""
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("task")
    except (OSError, SafetensorError):
        return None


def take_over(denoiser: EmbeddedDenoiser, path: Path) -> None:
    """Begins with the weights in a file, of whatever task: inputs that those did not have start without a say.

    The first inputs of every task are the residual and the base picture; further ones get zeros.
    Raises: UserError if the file holds no embedded weights, or those of another architecture.
    """
    given, state = load(path), denoiser.state_dict()
    enter = given.network.enter.weight
    if given.architecture != denoiser.architecture or enter.shape[1] > state["network.enter.weight"].shape[1]:
        raise UserError(
            f"{path} holds a network for {given.task} of the architecture {given.architecture}, which one for "
            f"{denoiser.task} of {denoiser.architecture} cannot take over: give weights of the same architecture"
        )
    widened = torch.zeros_like(state["network.enter.weight"])
    widened[:, : enter.shape[1]] = enter
    denoiser.load_state_dict(given.state_dict() | {"network.enter.weight": widened})
