"""What a user may say about a pretrained model: its prompt, its precision, where its weights come from."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import torch

from warped_diffusion.errors import UserError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

OFFLOADS = ("none", "model", "sequential")


@dataclass(frozen=True)
class PretrainedOptions:
    """How a pretrained model is loaded and asked; nothing here concerns the embedded ones.

    Attributes:
        prompt, negative_prompt: what the frames show, and what they should not look like.
        cfg: weight of classifier-free guidance. Up to 1 the network is asked once a step and no negative prompt counts;
            above, twice.
        dtype: of the network, a name in `DTYPES`, or "auto": bf16 on GPUs that multiply it, fp16 on others, else fp32.
        offload: what waits in main memory until it is needed: "none", each whole "model", or layer by layer
            ("sequential", slowest, smallest).
        allow_pickle: also read weights in Python's pickle format, which can run any code. Else safetensors only.
        lora: a file, folder or hub name of low-rank weights to add, None for none.

    Raises: UserError for a name or a number that is none of these.
    """

    prompt: str = ""
    negative_prompt: str = ""
    cfg: float = 5.0
    dtype: str = "auto"
    offload: str = "none"
    allow_pickle: bool = False
    lora: str | Path | None = None

    def __post_init__(self) -> None:
        if not (isfinite(self.cfg) and self.cfg >= 0):
            raise UserError(f"cfg is a number from 0 up, 1 for no guidance by the prompt, got {self.cfg}")
        if self.dtype not in ("auto", *DTYPES):
            raise UserError(f"dtype is one of auto, {', '.join(DTYPES)}, got {self.dtype!r}")
        if self.offload not in OFFLOADS:
            raise UserError(f"offload is one of {', '.join(OFFLOADS)}, got {self.offload!r}")


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format of that name; for "auto" what the device multiplies fastest, float32 on a CPU."""
    if name != "auto":
        return DTYPES[name]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
