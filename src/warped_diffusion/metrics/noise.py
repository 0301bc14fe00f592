"""Measures of noise: is a frame the noise that a model was trained with, and how much of it is an earlier frame's.

Those of one frame take (..., C, H, W), zero mean and unit variance intended, and give one float64 number per frame.
"""

import math
from collections.abc import Callable

import finufft
import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor
from torch.nn.functional import pad

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.flow.maps import check_map, displacement, interpolate, jacobian
from warped_diffusion.metrics.image import spectral_flatness

Density = Callable[[Tensor, Tensor], Tensor]
"""Power per (rad/px)² at frequency (kx, ky), rad/px, that broadcast; integrates to 1 over [-π, π]², zero beyond."""

MARGIN = 16
"""Pixels along the edges of both frames that no coherence is taken in: what lies beyond is missed least here."""
FULLY_KNOWN = 0.999
"""A pixel counts where its weight reaches this: what is below 1 by more than rounding is a feathered edge."""
FINER = 4
"""A density is sampled this many times finer than a frame's own frequencies for the covariance that belongs to it."""
SAMPLES, PLACES = 4096, 512
"""Frequencies per place, and places per map, that a coherence's reference is summed over."""


def variance(noise: Tensor) -> Tensor:
    """Mean square over channels and pixels: the mean is known to be zero. (..., C, H, W) -> (...).

    Its standard error for n independent values is √(2/n).
    """
    _require_frames(noise)
    return noise.double().square().mean((-3, -2, -1))


def neighbour_correlation(noise: Tensor) -> Tensor:
    """Correlation of pixels beside or below each other: Moran's I with rook weights and a known mean of zero.

    Mean product over all horizontal and vertical pairs, over the mean square; 0 with a standard error of about
    1/√pairs for independent pixels, which 2·C·H·W of them nearly have.

    Args:
        noise: (..., C, H, W), not of one single pixel.
    Returns: (...), float64.
    """
    _require_frames(noise)
    x = noise.double()
    across, down = x[..., 1:] * x[..., :-1], x[..., 1:, :] * x[..., :-1, :]
    pairs = across.shape[-3:].numel() + down.shape[-3:].numel()
    return (across.sum((-3, -2, -1)) + down.sum((-3, -2, -1))) / pairs / variance(noise)


def ks_distance(noise: Tensor) -> Tensor:
    """Kolmogorov–Smirnov distance to N(0, 1): sup |F_n − Φ| over all values of a frame. (..., C, H, W) -> (...).

    For n independent normal values it is 0.87/√n on average, with a standard deviation of 0.26/√n.
    """
    _require_frames(noise)
    values = noise.detach().double().cpu().flatten(-3).sort(-1).values
    normal = torch.from_numpy(ndtr(values.numpy()))
    count = values.shape[-1]
    step = torch.arange(count + 1, dtype=torch.float64) / count
    return torch.maximum((step[1:] - normal).amax(-1), (normal - step[:-1]).amax(-1))


def whitened_flatness(noise: Tensor, density: Density | None = None) -> Tensor:
    """`spectral_flatness` of the noise after its periodogram was divided by the one expected of it: 1 is perfect.

    Its standard error is `flatness_error`. Every shape of the spectrum but the right one lowers it, a mere factor does
    not.

    Args:
        density: the spectrum that the noise should have; None for the white one.
    """
    return spectral_flatness(noise if density is None else _whitened(noise, density))


def spectrum_distance(noise: Tensor, density: Density | None = None) -> Tensor:
    r"""Itakura–Saito distance of a frame's power spectrum to the one that it should have: 0 is perfect.

    mean(r − log r − 1) over frequencies, r the noise's spectrum over the target: r's own factor is in it too. The
    periodogram stands for the noise's spectrum, its random part taken off: the value is right on average, has the
    standard error of `flatness_error`, and may fall below 0 by that.

    Args:
        noise: (..., C, H, W).
        density: the spectrum that the noise should have; None for the white one.
    Returns: (...), float64.
    """
    whitened = noise if density is None else _whitened(noise, density)
    level = variance(whitened)  # by Parseval the mean of the periodogram over its expectation
    return level - 1 - (spectral_flatness(whitened) * level).log()


def flatness_error(channels: int, size: tuple[int, int]) -> float:
    """Standard error of a perfect frame's flatness: √((ψ'(C) − 1/C) / half the number of frequencies)."""
    count = torch.tensor(float(channels), dtype=torch.float64)
    return math.sqrt(float(torch.polygamma(1, count) - 1 / count) / (size[0] * size[1] / 2))


def expected_periodogram(density: Density, size: tuple[int, int]) -> Tensor:
    """Mean of |FFT|²/(H·W) over frames of a stationary noise with that spectrum: (H, W) float64, FFT order.

    The frame's edges are in it: it is the transform of the covariance times the share (1 − |dx|/W)(1 − |dy|/H) of a
    frame's pixels that have a partner (dx, dy) away. White noise has 1 everywhere.
    """
    fine = [FINER * n | 1 for n in size]
    ky, kx = (2 * math.pi * torch.fft.fftfreq(n, dtype=torch.float64) for n in fine)
    covariance = torch.fft.ifft2(density(kx, ky[:, None]) * (2 * math.pi) ** 2).real
    folded = covariance
    for axis, (n, period) in enumerate(zip(size, fine, strict=True)):
        offset = torch.arange(-n + 1, n)
        share = (1 - offset.abs() / n).double()
        share = share[:, None] if axis == 0 else share
        kept = folded.index_select(axis, offset % period) * share
        # A frame's frequencies cannot tell an offset d from d ± n.
        folded = torch.zeros_like(kept.narrow(axis, 0, n)).index_add_(axis, offset % n, kept)
    return torch.fft.fft2(folded).real


def tiles(noise: Tensor, side: int) -> Tensor:
    """The frame cut into squares, to find its worst place with the same measures; a remainder at the edges is left out.

    Args:
        noise: (..., C, H, W).
        side: of a tile, pixels.
    Returns: (..., tiles, C, side, side), row by row.
    Raises: ShapeError if not one tile fits.
    """
    _require_frames(noise)
    channels, height, width = noise.shape[-3:]
    if side < 1 or min(height, width) < side:
        raise ShapeError(f"tiles of {side} pixels do not fit into noise of {tuple(noise.shape)}: give a smaller side")
    rows, columns = height // side, width // side
    top, left = (height - rows * side) // 2, (width - columns * side) // 2
    middle = noise[..., top : top + rows * side, left : left + columns * side]
    cut = middle.reshape(*noise.shape[:-3], channels, rows, side, columns, side)
    return cut.movedim((-4, -2), (-5, -4)).flatten(-5, -4)


def band_limited(noise: Tensor, positions: Tensor) -> Tensor:
    """The band-limited function through a frame's pixels, all others zero, at any positions.

    The frame is one part of a periodic picture that is empty otherwise, so that no edge feels the one across; sides are
    odd, since an even one's highest wave is lost half-way between pixels.

    Args:
        noise: (C, H, W).
        positions: (..., 2) finite, pixels; they are meant to lie in the frame.
    Returns: (C, ...) float64, on the CPU.
    """
    channels, height, width = noise.shape
    tall, wide = (2 * n | 1 for n in (height, width))
    empty = pad(noise.detach().cpu().double(), (0, wide - width, 0, tall - height, 0, channels % 2))
    modes = torch.fft.fft2(torch.complex(empty[0::2], empty[1::2])) / (tall * wide)  # two real functions at once
    angles = 2 * math.pi * positions.detach().cpu().double().reshape(-1, 2) / torch.tensor([wide, tall])
    x, y = np.ascontiguousarray(angles.numpy().T)
    pairs = torch.from_numpy(finufft.nufft2d2(y, x, modes.numpy(), eps=1e-7, isign=1, modeord=1, nthreads=1))
    values = torch.stack([pairs.real, pairs.imag], dim=1).flatten(0, 1)[:channels]
    return values.reshape(channels, *positions.shape[:-1])


def coherence(reference: Tensor, noise: Tensor, positions: Tensor, weight: Tensor | None = None) -> float:
    r"""Correlation of two frames of noise along the motion, as functions of the plane, not as pixels.

        c = Σ n_j(x)·n_0(P(x)) / √(Σ n_j(x)² · Σ n_0(P(x))²)

    Both are read as the band-limited functions through their pixels, x on a grid of half pixels, on which no product of
    the two aliases up to a local scale of 3, so no interpolation takes anything away; what is lost is the part that
    pixels beyond the frame would have added, which counts as zero. With `MARGIN`, frames of 136x320 pixels of one
    white field, half a pixel apart, read 0.9975 where 1 is true. The map is bilinear between pixels, exact where it is
    affine.

    Args:
        reference: (C, H, W), the earlier frame n_0.
        noise: (C, H, W), the later frame n_j.
        positions: (H, W, 2), P, pixels: where each pixel of n_j was in n_0.
        weight: (H, W), where n_j shows what n_0 showed; only places that it has at 1 count. None for everywhere.
    Returns: the correlation over channels and places: x and P(x) inside by `MARGIN`; nan if there are none.
    Raises: ShapeError if the shapes do not fit each other; UserError if a position is not finite.
    """
    if noise.ndim != 3 or reference.shape != noise.shape or positions.shape != (*noise.shape[-2:], 2):
        raise ShapeError(
            f"reference is {tuple(reference.shape)}, noise {tuple(noise.shape)}, positions {tuple(positions.shape)}: "
            "give (C, H, W) twice and (H, W, 2)"
        )
    here, there = _places(positions, weight)
    if len(here) == 0:
        return math.nan
    now, before = band_limited(noise, here), band_limited(reference, there)
    return float((now * before).sum() / (now.square().sum() * before.square().sum()).sqrt())


def coherence_reference(
    positions: Tensor, density0: Density | None = None, density: Density | None = None, weight: Tensor | None = None
) -> float:
    r"""The highest `coherence` that two frames with given spectra can have along a motion.

    Near x the earlier noise, carried along, has the spectrum S₀(J⁻ᵀk)/|det J| on the later frame's screen, J = ∂P(x).
    Per frequency amplitudes can agree at best:

        c = mean over places of ∫ √(S(k) · S₀(J⁻ᵀk) / |det J|) dk

    which for white noise is min(s, 1/s) under a zoom by s and 2/(1 + sin θ + cos θ) under a rotation by θ.

    Args:
        positions: (H, W, 2), P, pixels.
        density0, density: spectra of the earlier and of the later frame; one alone holds for both, none means white.
        weight: as in `coherence`, whose places are meant, of which `PLACES` spread evenly are taken.
    Returns: the mean, within 1e-3; nan if there are no places.
    """
    now, before = density or density0 or _white, density0 or density or _white
    here, _ = _places(positions, weight)
    if len(here) == 0:
        return math.nan
    chosen = here[:: -(-len(here) // PLACES)]
    slopes = jacobian(positions.detach().cpu().double()).flatten(-2).movedim(-1, 0)
    J = interpolate(slopes, chosen[:, None]).squeeze(-1).T.reshape(-1, 2, 2)
    shrinks = torch.linalg.det(J).abs() < 1
    # Summed over the narrower of the two bands: u = J⁻ᵀk takes the integral to the other frame, and no det divides.
    parts = [_overlap(J[shrinks].mT, before, now), _overlap(torch.linalg.inv(J[~shrinks]).mT, now, before)]
    return float(torch.cat(parts).mean())


def _overlap(linear: Tensor, here: Density, there: Density) -> Tensor:
    """∫ √(here(k) · there(L k) · |det L|) dk over [-π, π]² for matrices (n, 2, 2): (n,).

    Frequencies follow a golden lattice, moved by another offset for each matrix: the error that a band's hard edge
    makes is each place's own, and the mean over places lessens it.
    """
    golden = 1.32471795724474602596  # x³ = x + 1, whose powers spread points evenly over a square
    steps = torch.tensor([1 / golden, 1 / golden**2], dtype=torch.float64)
    lattice = torch.arange(SAMPLES, dtype=torch.float64)[:, None] * steps
    offsets = torch.arange(len(linear), dtype=torch.float64)[:, None] * torch.tensor([2.0, 3.0]).double().sqrt()
    sums = []
    for matrix, offset in zip(linear, offsets, strict=True):
        k = (2 * torch.remainder(lattice + offset, 1) - 1) * math.pi
        moved = k @ matrix.T
        power = here(k[:, 0], k[:, 1]) * there(moved[:, 0], moved[:, 1])
        sums.append(power.sqrt().mean())
    areas = (2 * math.pi) ** 2 * torch.linalg.det(linear).abs().sqrt()
    return areas * (torch.stack(sums) if sums else linear.new_zeros(0))


def _white(kx: Tensor, ky: Tensor) -> Tensor:
    inside = (kx.abs() <= math.pi) & (ky.abs() <= math.pi)
    return inside.double() / (2 * math.pi) ** 2


def _whitened(noise: Tensor, density: Density) -> Tensor:
    _require_frames(noise)
    power = expected_periodogram(density, (noise.shape[-2], noise.shape[-1])).to(noise.device)
    return torch.fft.ifft2(torch.fft.fft2(noise.double()) / power.sqrt()).real


def _places(positions: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Where two frames are compared: x, half a pixel apart, and P(x), each (M, 2) float64 on the CPU."""
    check_map(positions)
    if not positions.isfinite().all():
        raise UserError("some positions are not finite: check the motion behind them")
    P = positions.detach().cpu().double()
    height, width = P.shape[:2]
    if min(height, width) <= 2 * MARGIN:
        return P.new_zeros(0, 2), P.new_zeros(0, 2)
    y, x = (torch.arange(2 * MARGIN, 2 * (n - MARGIN) - 1, dtype=torch.float64) / 2 for n in (height, width))
    here = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    there = here + interpolate(displacement(P).movedim(-1, 0), here).movedim(0, -1)
    last = torch.tensor([width - 1 - MARGIN, height - 1 - MARGIN])
    inside = ((there >= MARGIN) & (there <= last)).all(-1)
    if weight is not None:
        if weight.shape != P.shape[:2]:
            raise ShapeError(f"weight is {tuple(weight.shape)}, expected {tuple(P.shape[:2])} like the positions")
        inside &= interpolate(weight.detach().cpu().double()[None], here)[0] > FULLY_KNOWN
    return here[inside], there[inside]


def _require_frames(noise: Tensor) -> None:
    if noise.ndim < 3:
        raise ShapeError(f"noise is {tuple(noise.shape)}: give (..., channels, height, width)")
