"""The most memory that a call's tensors take at one time: what the GPU's allocator says, or a count of our own."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_memory(function: Callable[[], object], device: str | torch.device = "cpu") -> int:
    """Bytes, weights and all else that the call reads included. Raises what the call raises.

    On CUDA it is the allocator's own peak, which counts whatever else is allocated at the time. Elsewhere `LiveTensors`
    counts, which slows the call down: do not time it.
    """
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        function()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    with LiveTensors() as counted:
        function()
    return counted.peak


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of all storages that torch's operations read or make, each from when it is first met until it is
    freed; views count once. What a kernel takes for itself while it works is not seen.

    Attributes:
        live: bytes alive now.
        peak: the most so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        # By address, which is taken again only after the storage is freed: the reference that tells of that, its bytes.
        self._met: dict[int, tuple[weakref.ref[torch.UntypedStorage], int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self._meet((args, kwargs))
        result = func(*args, **kwargs)
        self._meet(result)
        return result

    def _meet(self, values: Any) -> None:
        for value in tree_leaves(values):
            # A sparse one has no storage; those of its parts are met where it is made.
            if isinstance(value, torch.Tensor) and value.layout == torch.strided:
                self._count(value.untyped_storage())
        self.peak = max(self.peak, self.live)

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._met:
            reference, before = self._met[key]
            if size == before:
                return
            self.live -= before  # resized in place
        else:
            reference = weakref.ref(storage, lambda _: self._forget(key))
        self._met[key] = reference, size
        self.live += size

    def _forget(self, key: int) -> None:
        _, size = self._met.pop(key)
        self.live -= size
