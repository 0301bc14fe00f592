"""Which pixels two frames share."""

import torch.nn.functional as F
from torch import Tensor

from warped_diffusion.errors import ShapeError
from warped_diffusion.flow.maps import check_map, compose, displacement, frame_weight, interpolate


def visibility(forward: Tensor, backward: Tensor) -> tuple[Tensor, Tensor]:
    r"""Where each of two frames shows what the other shows: in the frame, and there and back again leads home.

    A pixel passes if |F(x) + B(x + F(x))|^2 < 0.01 (|F(x)|^2 + |B(x + F(x))|^2) + 0.5, F and B the displacements of the
    two maps; the mask is then drawn in by a pixel and feathered, so that it never grows.

    Args:
        forward: (..., H, W, 2) positions in the later frame of the earlier frame's pixels.
        backward: (..., H, W, 2) positions in the earlier frame of the later frame's pixels.
    Returns: (visible, known), each (..., H, W) in [0, 1]: pixels of the earlier frame that the later one still shows,
        and pixels of the later frame that the earlier one already showed. Pixels that leave the frame are 0.
    Raises: ShapeError if the two are not maps on one grid.
    """
    check_map(forward, "forward")
    check_map(backward, "backward")
    if forward.shape != backward.shape:
        raise ShapeError(f"forward is {tuple(forward.shape)} and backward {tuple(backward.shape)}: they must be alike")
    return _shown(forward, backward), _shown(backward, forward)


def _shown(there: Tensor, back: Tensor) -> Tensor:
    away = displacement(there)
    astray = displacement(compose(back, there))
    home = astray - away
    allowed = 0.01 * (away.square().sum(-1) + home.square().sum(-1)) + 0.5
    consistent = (astray.square().sum(-1) < allowed).to(there.dtype)
    return feather(consistent) * frame_weight(there, (there.shape[-3], there.shape[-2]))


def agreement(earlier: Tensor, later: Tensor, forward: Tensor, tolerance: float = 0.03) -> Tensor:
    r"""How far two frames agree along estimated flow: what the flow may be trusted with.

        exp(-d^2 / (2 tolerance^2)),   d^2 = |later(T(x)) - earlier(x)|^2 averaged over the channels and 3 x 3 pixels

    Args:
        earlier, later: (C, H, W) in [0, 1].
        forward: (H, W, 2) positions in the later frame of the earlier frame's pixels.
        tolerance: the difference that halves the credit or so, in the frames' units.
    Returns: (H, W) in [0, 1], on the earlier frame's grid.
    """
    return credit(interpolate(later, forward) - earlier, tolerance)


def credit(difference: Tensor, tolerance: float = 0.03) -> Tensor:
    """What `agreement` makes of the difference of two frames along flow: (C, H, W) -> (H, W) in [0, 1]."""
    squared = difference.square().mean(0, keepdim=True)
    padded = F.pad(squared[None], (1, 1, 1, 1), mode="replicate")
    return (-F.avg_pool2d(padded, 3, 1)[0, 0] / (2 * tolerance**2)).exp()


def feather(mask: Tensor) -> Tensor:
    """(..., H, W) in [0, 1]: drawn in by one pixel (minimum of 3 x 3), then blurred by as much ([1 2 1] / 4 per axis).

    Nothing outside the mask becomes positive, and the frame's own border is not an edge.
    """
    flat = mask.reshape(-1, 1, *mask.shape[-2:])
    if flat.numel() == 0:
        return mask
    flat = -F.max_pool2d(-flat, 3, stride=1, padding=1)
    kernel = mask.new_tensor([0.25, 0.5, 0.25])
    padded = F.pad(flat, (1, 1, 1, 1), mode="replicate")
    blurred = F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, 3)), kernel.view(1, 1, 3, 1))
    return blurred.reshape(mask.shape)
