"""The estimators by name."""

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.estimators.dis import dis_flow
from warped_diffusion.estimators.raft import estimate_raft, load_network
from warped_diffusion.estimators.refined import refined_flow

Estimator = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(earlier, later), each (3, H, W) in [0, 1] -> (forward, backward) displacements, each (H, W, 2) pixels, (x, y)."""

ESTIMATORS: dict[str, Estimator] = {
    "refined": refined_flow,
    "dis": dis_flow,
    "raft": estimate_raft,
    "raft-small": partial(estimate_raft, size="small"),
}


def get_estimator(name: str) -> Estimator:
    """The estimator of that name, or "auto" for the best that is to be had. Raises: UserError if there is none."""
    if name == "auto":
        return ESTIMATORS[best_estimator()]
    if name not in ESTIMATORS:
        raise UserError(f"flow estimator is {name!r}: choose one of auto, {', '.join(ESTIMATORS)}")
    return ESTIMATORS[name]


@cache
def best_estimator() -> str:
    """The name of RAFT where there is a GPU and its weights are cached or can be fetched, else of DIS, refined."""
    if not torch.cuda.is_available():
        return "refined"
    try:
        load_network("large", torch.device("cuda"))
    except UserError:
        return "refined"
    return "raft"
