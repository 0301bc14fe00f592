"""The motion of a clip, estimated from its frames."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from warped_diffusion.errors import ShapeError
from warped_diffusion.estimators.registry import get_estimator
from warped_diffusion.flow.maps import identity_map, resize_map
from warped_diffusion.flow.motion import Motion
from warped_diffusion.flow.visibility import visibility


def estimate_motion(frames: Tensor, size: tuple[int, int] | None = None, estimator: str = "auto") -> Motion:
    """The motion from each frame to the next.

    Args:
        frames: (N, 3, h, w) in [0, 1], N at least 1.
        size: (height, width) of the grid wanted, for instance the restored clip's; by default the frames' own.
        estimator: a name in `ESTIMATORS`, or "auto".
    Returns: Motion on that grid.
    Raises: ShapeError if `frames` is not such a clip; UserError if there is no such estimator.
    """
    if frames.dim() != 4 or frames.shape[0] < 1 or frames.shape[1] != 3:
        raise ShapeError(f"frames are {tuple(frames.shape)}: give (N, 3, height, width) with at least one frame")
    height, width = size or (frames.shape[-2], frames.shape[-1])
    get_estimator(estimator)
    pairs = [estimate_pair(*pair, (height, width), estimator) for pair in itertools.pairwise(frames)]
    if not pairs:
        return Motion.analytic(1, (height, width))
    forward, backward, visible, known = (torch.stack(parts) for parts in zip(*pairs, strict=True))
    return Motion(forward, backward, visible, known)


def estimate_pair(
    earlier: Tensor, later: Tensor, size: tuple[int, int], estimator: str = "auto"
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The motion between two frames, for streams.

    The flow is found on the frames, enlarged to twice their size where the wanted grid is larger than they are: to
    three and four times was worse on slow and on fast clips. The maps are then brought to the wanted grid.

    Args:
        earlier, later: (3, h, w) in [0, 1].
        size: (height, width) of the grid wanted.
        estimator: a name in `ESTIMATORS`, or "auto".
    Returns: (forward, backward, visible, known) as in `Motion`: (H, W, 2), (H, W, 2), (H, W), (H, W).
    Raises: ShapeError if the frames are not two pictures of one size; UserError if there is no such estimator.
    """
    if earlier.dim() != 3 or earlier.shape[0] != 3 or earlier.shape != later.shape:
        raise ShapeError(f"frames are {tuple(earlier.shape)} and {tuple(later.shape)}: give two of one size, (3, h, w)")
    find_flow = get_estimator(estimator)
    flows = find_flow(_enlarge(earlier, size), _enlarge(later, size))
    forward, backward = (resize_map(_as_map(flow), size) for flow in flows)
    return forward, backward, *visibility(forward, backward)


def _as_map(flow: Tensor) -> Tensor:
    return flow + identity_map(flow.shape[0], flow.shape[1], flow.device, flow.dtype)


def _enlarge(frame: Tensor, size: tuple[int, int]) -> Tensor:
    """The frame, bicubically enlarged twice along each axis, to no more than `size`."""
    height, width = (max(have, min(2 * have, want)) for have, want in zip(frame.shape[-2:], size, strict=True))
    if (height, width) == tuple(frame.shape[-2:]):
        return frame
    larger = F.interpolate(frame[None], size=(height, width), mode="bicubic", align_corners=False)[0]
    return larger.clamp(0, 1)
