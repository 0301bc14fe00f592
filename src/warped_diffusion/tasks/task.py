"""What every task has to offer."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from warped_diffusion.diffusion.operators import Operator
from warped_diffusion.errors import UserError


class Task(Protocol):
    """A degradation and the condition that undoes it.

    `mask` is (..., 1, H, W), 1 where the frame is to be filled in. A task that `takes_mask` cannot do without one, the
    others refuse it: both raise UserError.
    """

    @property
    def name(self) -> str: ...

    @property
    def takes_mask(self) -> bool: ...

    @property
    def detail(self) -> float:
        """How much detail is made up where nothing else is said, 0 to 1 (see `restoration.Options`)."""
        ...

    @property
    def noise(self) -> float:
        """Deviation of the noise that a measurement has beside `operator`, model units; 0 where it is met exactly."""
        ...

    def degrade(self, pictures: Tensor, mask: Tensor | None = None) -> Tensor:
        """(..., 3, H, W) in [0, 1] -> (..., 3, h, w): what the task's inputs look like."""
        ...

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the restored frame for a degraded frame of `size`."""
        ...

    def condition(self, pictures: Tensor, mask: Tensor | None = None) -> Mapping[str, Tensor]:
        """(B, 3, h, w) degraded pictures in [0, 1] -> named tensors with a leading batch dimension."""
        ...

    def agree(self, estimates: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Estimates of the frames, (B, 3, H, W) in [-1, 1], changed as far as they contradict the input."""
        ...

    def operator(self, condition: Mapping[str, Tensor]) -> Operator:
        """The degradation as a linear map, for the conditions of a batch.   Raises: UserError if it is not linear."""
        ...


def refuse(mask: Tensor | None, name: str) -> None:
    """Raises: UserError if a mask was given to a task that takes none."""
    if mask is not None:
        raise UserError(f"task {name!r} takes no mask: leave it out")
