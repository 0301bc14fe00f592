"""A batch divided among replicas of one denoiser: a device each, all at work at the same time."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from warped_diffusion.diffusion.contract import Condition, Denoiser
from warped_diffusion.errors import UserError


class Divided:
    """`Denoiser`'s contract, kept by several that are alike: each gets a run of the batch's items, as even as can be.

    Items of a batch do not see one another, so the result is that of any one of them, to what a kernel rounds
    differently at another size of the batch. The first replica works in the calling thread. Where a gradient is asked
    for it has the whole batch: the others may be anywhere.

    Args:
        replicas: each takes tensors where the caller has them, and gives its result there.
    Raises: UserError for none.
    """

    def __init__(self, replicas: Sequence[Denoiser]) -> None:
        if not replicas:
            raise UserError("a batch is divided among one replica or more, got none")
        self.replicas = tuple(replicas)
        self._threads = ThreadPoolExecutor(max(1, len(replicas) - 1), "replica")

    def __call__(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """`Denoiser`'s contract. Raises what a replica raises."""
        count = 1 if torch.is_grad_enabled() else min(len(self.replicas), len(noisy))
        if count == 1:
            return self.replicas[0](noisy, sigma, condition)
        items = list(zip(noisy.tensor_split(count), sigma.tensor_split(count), _split(condition, count), strict=True))
        others = [
            self._threads.submit(_quietly, replica, *item)
            for replica, item in zip(self.replicas[1:count], items[1:], strict=True)
        ]
        first = self.replicas[0](*items[0])
        return torch.cat([first, *(other.result() for other in others)])


def _split(condition: Condition, count: int) -> list[dict[str, Tensor]]:
    parts = {name: value.tensor_split(count) for name, value in condition.items()}
    return [{name: part[place] for name, part in parts.items()} for place in range(count)]


@torch.no_grad()  # of each thread its own
def _quietly(replica: Denoiser, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
    return replica(noisy, sigma, condition)
