"""Measures of single frames: error, high-frequency energy, spectral flatness.

All take (..., C, H, W) and give one float64 number per frame, (...): the mean over a clip is the caller's `.mean()`.
"""

import torch
from torch import Tensor

from warped_diffusion.errors import ShapeError


def mse(frames: Tensor, reference: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared difference over channels and pixels, per frame.

    Args:
        frames, reference: (..., C, H, W), in [0, 1] where the result is to be compared with other figures.
        mask: (..., H, W) boolean or non-negative weights, broadcast over the leading dimensions: which pixels count.
    Returns: (...), float64; nan for a frame in which no pixel counts.
    Raises: ShapeError if the frames differ in shape or the mask is not on their grid.
    """
    if frames.shape != reference.shape:
        raise ShapeError(f"frames are {tuple(frames.shape)}, reference is {tuple(reference.shape)}: give equal shapes")
    _require_frames(frames)
    squared = (frames.double() - reference.double()).square().mean(-3)
    if mask is None:
        return squared.mean((-2, -1))
    if mask.shape[-2:] != squared.shape[-2:]:
        raise ShapeError(f"mask is {tuple(mask.shape)}, frames are {tuple(frames.shape)}: give a mask (..., H, W)")
    weight = mask.to(squared).broadcast_to(squared.shape)
    return (weight * squared).sum((-2, -1)) / weight.sum((-2, -1))


def psnr(frames: Tensor, reference: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio of frames in [0, 1], in decibels, per frame: −10 log₁₀ mse.

    Arguments, shapes and errors are those of `mse`; inf where the two are equal.
    """
    return -10 * torch.log10(mse(frames, reference, mask))


def high_frequency_energy(frames: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean square of a quarter of the 4-neighbour Laplacian: pixel minus the mean of its four neighbours, per frame.

    Only pixels with four neighbours count. White noise of variance v gives 5 v / 4, a plane gives 0.

    Args:
        frames: (..., C, H, W), H and W at least 3.
        mask: (..., H, W) as in `mse`: which pixels count.
    Returns: (...), float64, in squared units of the frames; nan for a frame in which no pixel counts.
    Raises: ShapeError if a frame has no interior pixel or the mask is not on the frames' grid.
    """
    _require_frames(frames)
    if min(frames.shape[-2:]) < 3:
        raise ShapeError(f"frames are {tuple(frames.shape)}: the Laplacian needs at least 3×3 pixels")
    x = frames.double()
    neighbours = x[..., :-2, 1:-1] + x[..., 2:, 1:-1] + x[..., 1:-1, :-2] + x[..., 1:-1, 2:]
    detail = x[..., 1:-1, 1:-1] - neighbours / 4
    if mask is not None and mask.shape[-2:] != frames.shape[-2:]:
        raise ShapeError(f"mask is {tuple(mask.shape)}, frames are {tuple(frames.shape)}: give a mask (..., H, W)")
    return mse(detail, torch.zeros_like(detail), None if mask is None else mask[..., 1:-1, 1:-1])


def spectral_flatness(frames: Tensor) -> Tensor:
    """How white a frame is: 1 for independent pixels on average, towards 0 the more its power is gathered.

    Geometric over arithmetic mean of the channel-averaged periodogram, over that of independent Gaussian noise of the
    same size. That noise's own ratio is exp E[log G], G the mean of C independent unit exponentials at a frequency and
    of C squared normals at the (up to four) frequencies where the transform is real; it is 0.878 for 4 channels.

    Args:
        frames: (..., C, H, W), of zero mean: a constant offset is power gathered at frequency zero.
    Returns: (...), float64; nan for a frame of zeros.
    """
    _require_frames(frames)
    channels, height, width = frames.shape[-3:]
    power = torch.fft.fft2(frames.double()).abs().square().mean(-3)
    ratio = power.log().mean((-2, -1)).exp() / power.mean((-2, -1))
    real = (2 - height % 2) * (2 - width % 2) / (height * width)  # share of frequencies that are their own negative
    count = torch.tensor(channels, dtype=torch.float64)
    log_complex = torch.digamma(count) - count.log()
    log_real = torch.digamma(count / 2) - (count / 2).log()
    return ratio / ((1 - real) * log_complex + real * log_real).exp().to(ratio)


def _require_frames(frames: Tensor) -> None:
    if frames.ndim < 3:
        raise ShapeError(f"frames are {tuple(frames.shape)}: give (..., channels, height, width)")
