"""The number format that a device computes convolutions in fastest without loss that can be seen."""

import torch


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it (CUDA from Ampere on, CPUs with AVX512-BF16 or AMX), else float32."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        known: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # older releases of torch cannot tell
        fast = bool(known.get("avx512_bf16") or known.get("amx_bf16"))
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32
