"""The running average of what is trained, which is what a run leaves behind."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """Exponentially averaged copies of the trained ones among `parameters`, in float32, beside them on their device.

    Of parameters that are sharded over processes each process averages its shards.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.values: list[Tensor] = [parameter.detach().clone().float() for parameter in self.parameters]

    def update(self, decay: float) -> None:
        """mean <- decay mean + (1 - decay) value."""
        with torch.no_grad():
            get_ema_multi_avg_fn(decay)(self.values, self.parameters, None)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the network computes with the averages; no value changes, they only change places."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for parameter, value in zip(self.parameters, self.values, strict=True):
            kept = parameter.clone()
            parameter.copy_(value)
            value.copy_(kept)
