"""The embedded network behind the denoiser contract, with its preconditioning and its file.   [DESIGN §8]"""

import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from warped_diffusion.diffusion import precondition
from warped_diffusion.diffusion.contract import Condition
from warped_diffusion.errors import UserError
from warped_diffusion.models.network import UNet

SPECTRA = ("white", "squared-exponential")
PREFERRED = "squared-exponential"
"""At 8x samples under it were 1 dB nearer the truth than under white noise, and steadier (docs/design.md)."""

LABELS = 16

HIGHEST_LEVEL = 2.8
"""ln(s / s_data) from which on the network is told the same: there is nothing left to see in the noise."""


class EmbeddedDenoiser(nn.Module):
    r"""An image model that restores what is missing from an enlarged picture c.

    It denoises the residual over the picture, u - c, with EDM's preconditioning:

        h(u; s, c) = c + c_skip (u - c) + c_out F(c_skip (u - c) / s_data, c; s, scale, spectrum)       [EDM, eq. 7]

    where the residual's standard deviation `sigma_data` depends on the scale. EDM shows the network c_in (u - c), of
    unit variance whatever the noise; here it sees the linear estimate c_skip (u - c), which fades where there is
    nothing but noise to see, and with it the noise that would leak into the estimate (0.2 dB at the highest level).
    Condition, by name:
        picture: (B, 3, H, W) in [-1, 1], zero where nothing is known.
        scale: (B,) the factor between input and output, 0 where nothing is known (a prior without a task).
        spectrum: (B,) index into `SPECTRA` of the noise in use.
    Any frame size: it is padded inside to a multiple of the network's stride.
    """

    def __init__(self, architecture: dict[str, tuple[int, ...]] | None = None) -> None:
        super().__init__()
        self.architecture = architecture or {}
        self.network = UNet(6, 3, LABELS, **self.architecture)  # type: ignore[arg-type]

    def forward(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Denoise a batch: `Denoiser`'s contract.   (B, 3, H, W), (B,) -> (B, 3, H, W) float32."""
        picture, scale = condition["picture"], condition["scale"]
        s_data = sigma_data(scale)
        residual = noisy - picture
        linear = _per_item(precondition.c_skip(sigma, s_data)) * residual
        inputs = torch.cat([linear / _per_item(s_data), picture], 1)
        prediction = self.predict(inputs, labels(sigma / s_data, scale, condition["spectrum"]))
        return picture + linear + _per_item(precondition.c_out(sigma, s_data)) * prediction

    def predict(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """The bare network F in its own precision, on frames of any size: (B, 6, H, W) -> (B, 3, H, W) float32."""
        height, width = inputs.shape[-2:]
        stride = self.network.stride
        inputs = F.pad(inputs, (0, -width % stride, 0, -height % stride), mode="replicate")
        dtype = next(self.network.parameters()).dtype
        inputs = inputs.to(dtype=dtype, memory_format=torch.channels_last)
        return self.network(inputs, labels.to(dtype))[..., :height, :width].float()


def sigma_data(scale: Tensor) -> Tensor:
    """Standard deviation of the residual over the bicubic enlargement, model units; of pictures where scale is 0.

    Measured on photographs: .08, .14, .19 at factors 2, 4, 8, linear in log2 between. (B,) -> (B,)
    """
    return torch.where(scale > 0, 0.03 + 0.055 * scale.clamp(min=1).log2(), torch.full_like(scale, 0.5))


def sigma_range(scale: float) -> tuple[float, float]:
    """(sigma_min, sigma_max) to sample with: 1/40 and 60 times the residual's standard deviation.

    Residuals gather at edges, where they are several times their mean: under less noise the network still looks for
    them there, and at the start of sampling, where there is none, it would take noise for detail.
    """
    s_data = float(sigma_data(torch.tensor(float(scale))))
    return s_data / 40, s_data * 60


def labels(relative_sigma: Tensor, scale: Tensor, spectrum: Tensor) -> Tensor:
    """What the network is told, as waves of ln(s / s_data) and log2(scale): (B,) each -> (B, LABELS)."""
    level = relative_sigma.log().clamp(max=HIGHEST_LEVEL)
    octaves = scale.clamp(min=1).log2()
    columns = [wave(level * frequency) for frequency in (0.25, 0.5, 1.0, 2.0) for wave in (torch.sin, torch.cos)]
    columns += [level / 2, octaves - 2, (scale == 0).float(), spectrum.float() * 2 - 1]
    columns += [wave(octaves * math.pi * frequency) for frequency in (0.25, 0.5) for wave in (torch.sin, torch.cos)]
    return torch.stack(columns, 1)


def save(denoiser: EmbeddedDenoiser, path: Path, about: dict[str, object]) -> None:
    """Writes the weights in half precision, with `about` and the architecture as the file's metadata."""
    tensors = {name: value.detach().half().contiguous() for name, value in denoiser.network.state_dict().items()}
    metadata = {"architecture": json.dumps(denoiser.architecture), "about": json.dumps(about)}
    save_file(tensors, path, metadata=metadata)


def load(path: Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> EmbeddedDenoiser:
    """An `EmbeddedDenoiser` from its file.   Raises: UserError if it is not such a file."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - not a mapping
        architecture = {name: tuple(value) for name, value in json.loads(metadata["architecture"]).items()}
        denoiser = EmbeddedDenoiser(architecture)
        denoiser.network.load_state_dict(state)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} is not a file of embedded weights: {error}") from error
    denoiser.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs forget it
    return denoiser.eval().requires_grad_(False).to(device, dtype)


def _per_item(values: Tensor) -> Tensor:
    return values[:, None, None, None]
