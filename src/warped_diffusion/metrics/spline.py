"""The ruler of the temporal measures: a quintic spline, so that no kernel that the method uses judges itself."""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from warped_diffusion.errors import ShapeError

ORDER = 5
# Point-mirrored beyond the frame, a picture keeps its slope at the edge and the spline its accuracy up to there. After
# this many pixels the spline no longer feels where the mirrored part ends: 0.43^12 = 4e-5.
MARGIN = 12


def sample_spline(image: Tensor, positions: Tensor) -> Tensor:
    """The interpolating quintic spline through an image's pixels, evaluated at any positions.

    Exact at integer positions and, away from the border, for polynomials up to degree 5. Half-way between pixels it
    keeps a wave's amplitude within 1 % up to 0.58 of the Nyquist frequency (Lanczos-3: up to 0.28, bilinear: 0.09).

    Args:
        image: (C, H, W). Beyond the frame it goes on point-mirrored about the edge pixels, as a ramp would.
        positions: (..., 2) pixels, (x right, y down), pixel centres at integers.
    Returns: (C, ...), float64, on the CPU.
    Raises: ShapeError if the image or the positions have another shape.
    """
    if image.ndim != 3 or positions.shape[-1:] != (2,):
        raise ShapeError(
            f"image is {tuple(image.shape)}, positions are {tuple(positions.shape)}: give (C, H, W) and (..., 2)"
        )
    x, y = positions.double().cpu().numpy().reshape(-1, 2).T + MARGIN
    values = [
        ndimage.map_coordinates(
            np.pad(channel, MARGIN, mode="reflect", reflect_type="odd"), (y, x), order=ORDER, mode="mirror"
        )
        for channel in image.detach().double().cpu().numpy()
    ]
    return torch.from_numpy(np.stack(values)).reshape(len(image), *positions.shape[:-1])
