"""What a run carries on, in a file: nested dictionaries and lists of tensors and numbers, without pickle."""

import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

TENSOR = "tensor"
"""The key that stands for a tensor; no state has one of that name."""


def write_state(state: dict[str, Any], path: Path) -> None:
    """Write a state.   Raises: OSError if it cannot be written."""
    tensors: dict[str, Tensor] = {}
    told = json.dumps(_plain(state, tensors, {}))
    try:
        save_file(tensors, path, metadata={"state": told})
    except SafetensorError as error:  # a full disk, which harms nothing that is kept
        number = re.search(r"os error (\d+)", str(error))
        raise (OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))) from error


def read_state(path: Path) -> dict[str, Any]:
    """What `write_state` wrote, on the CPU, tensors with the strides that they had: kernels may round by them.

    Raises: OSError, SafetensorError, KeyError, ValueError for what is no such file.
    """
    with safe_open(path, "pt") as file:
        state: dict[str, Any] = _whole(json.loads((file.metadata() or {})["state"]), file)
    return state


READING_ERRORS = (OSError, SafetensorError, KeyError, ValueError, TypeError, IndexError)
"""What a damaged file may come to."""


# Not functions within functions: one that calls itself holds on to what it has seen until the collector comes.
def _plain(value: Any, tensors: dict[str, Tensor], seen: dict[tuple[object, ...], str]) -> Any:
    if isinstance(value, Tensor):
        return _put(value, tensors, seen)
    if isinstance(value, dict):
        return {name: _plain(one, tensors, seen) for name, one in value.items()}
    return [_plain(one, tensors, seen) for one in value] if isinstance(value, list | tuple) else value


def _whole(value: Any, file: Any) -> Any:
    if isinstance(value, dict) and TENSOR in value:
        kept, order = file.get_tensor(value[TENSOR]), value["order"]
        return kept.permute([order.index(axis) for axis in range(len(order))])
    if isinstance(value, dict):
        return {name: _whole(one, file) for name, one in value.items()}
    return [_whole(one, file) for one in value] if isinstance(value, list) else value


def _put(value: Tensor, tensors: dict[str, Tensor], seen: dict[tuple[object, ...], str]) -> dict[str, object]:
    """What stands for a tensor; it is kept as it lies in memory, and once however often it is met."""
    strides = value.stride()
    order = sorted(range(value.ndim), key=lambda axis: (-strides[axis], axis))
    place = value.device, value.data_ptr(), value.dtype, tuple(value.shape), strides
    if place not in seen:
        seen[place] = str(len(tensors))
        laid = value.detach().permute(order).contiguous()
        whole = laid.untyped_storage().nbytes() == laid.numel() * laid.element_size()
        tensors[seen[place]] = (laid if whole else laid.clone()).to(torch.device("cpu"))
    return {TENSOR: seen[place], "order": order}
