"""The estimators by name."""

from collections.abc import Callable

from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.estimators.dis import dis_flow

Estimator = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(earlier, later), each (3, H, W) in [0, 1] -> (forward, backward) displacements, each (H, W, 2) pixels, (x, y)."""

ESTIMATORS: dict[str, Estimator] = {"dis": dis_flow}


def get_estimator(name: str) -> Estimator:
    """The estimator of that name. Raises: UserError if there is none."""
    if name not in ESTIMATORS:
        raise UserError(f"flow estimator is {name!r}: choose one of {', '.join(ESTIMATORS)}")
    return ESTIMATORS[name]
