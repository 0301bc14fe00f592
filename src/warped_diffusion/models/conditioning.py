"""What each task tells the embedded network, and what it leaves the network to say: the only part that knows the task.

The network denoises the residual over a base picture. A `Conditioning` says how far the truth lies from that base,
which sets the preconditioning, and lays out what the network is shown.   [EDM, eq. 7; DESIGN §8]
"""

import math
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from warped_diffusion.diffusion import precondition
from warped_diffusion.diffusion.contract import Condition
from warped_diffusion.errors import UserError

LABELS = 16

HIGHEST_LEVEL = 2.8
"""ln(s / unit) from which on the network is told the same: there is nothing left to see in the noise."""

PRIOR = 0.5
"""Standard deviation of pictures, model units."""


SPOILT = 0.11
"""Standard deviation of pictures about what noise and coding made of them, model units.

Measured on 600 held-out crops under `CleanUp.degrade_roughly`; of a tenth of them it is below .02, of half below .09
and of nine tenths below .17.
"""


class Conditioning(Protocol):
    """A task as the network meets it. `condition` has `picture`, the base, and what else the task puts there."""

    @property
    def channels(self) -> int:
        """Planes that the network is shown."""
        ...

    def unit(self, condition: Condition) -> Tensor:
        """(B,) the standard deviation that noise levels are counted in, in training and in the labels."""
        ...

    def sigma_data(self, condition: Condition) -> Tensor:
        """Standard deviation of the truth about the base picture, an item's or a pixel's: (B, 1, 1, 1) or (B, 1, H, W).

        0 where the base is known to be the truth: there the estimate is the base, and nothing is learned.
        """
        ...

    def inputs(self, residual: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """(B, 3, H, W) noisy minus base, (B, 1, 1, 1) -> (B, channels, H, W), what the network is shown."""
        ...

    def labels(self, sigma: Tensor, condition: Condition) -> Tensor:
        """(B,) -> (B, LABELS), what the network is told."""
        ...

    def sigma_range(self, condition: Condition) -> tuple[float, float]:
        """(sigma_min, sigma_max) to sample with, for the condition of one frame, without a batch dimension."""
        ...


class OverEnlargement:
    """Super-resolution: the residual over the enlarged input.

    EDM shows the network c_in (u - c), of unit variance whatever the noise; here it sees the linear estimate
    c_skip (u - c) / s_data, which fades where there is nothing but noise to see, and with it the noise that would leak
    into the estimate (0.2 dB at the highest level). Condition, by name:
        picture: (B, 3, H, W) in [-1, 1], zero where nothing is known.
        scale: (B,) the factor between input and output, 0 where nothing is known (a prior without a task).
        spectrum: (B,) the noise's, its index.
    """

    channels = 6

    def unit(self, condition: Condition) -> Tensor:
        return enlargement_deviation(condition["scale"])

    def sigma_data(self, condition: Condition) -> Tensor:
        return self.unit(condition)[:, None, None, None]

    def inputs(self, residual: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        return over_base(residual, sigma, self.sigma_data(condition), condition["picture"])

    def labels(self, sigma: Tensor, condition: Condition) -> Tensor:
        return labels(sigma / self.unit(condition), condition["scale"], condition["spectrum"])

    def sigma_range(self, condition: Condition) -> tuple[float, float]:
        """1/40 and 60 times the residual's standard deviation.

        Residuals gather at edges, where they are several times their mean: under less noise the network still looks for
        them there, and at the start of sampling, where there is none, it would take noise for detail.
        """
        s_data = float(enlargement_deviation(condition["scale"].float()))
        return s_data / 40, s_data * 60


class OverInput:
    """Clean-up: the residual over the input as it came.

    How much is wrong with the input is not told: the network sees it, and one constant serves all. Inputs are those of
    `OverEnlargement`, labels those of a factor of 1, which that has not. Condition, by name:
        picture: (B, 3, H, W) in [-1, 1], the input.
        spectrum: (B,) the noise's, its index.
    """

    channels = 6

    def unit(self, condition: Condition) -> Tensor:
        return torch.full_like(condition["picture"][:, 0, 0, 0], SPOILT)

    def sigma_data(self, condition: Condition) -> Tensor:
        return self.unit(condition)[:, None, None, None]

    def inputs(self, residual: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        return over_base(residual, sigma, self.sigma_data(condition), condition["picture"])

    def labels(self, sigma: Tensor, condition: Condition) -> Tensor:
        return labels(sigma / SPOILT, torch.ones_like(sigma), condition["spectrum"])

    def sigma_range(self, condition: Condition) -> tuple[float, float]:
        """1/60 and 60 times the residual's standard deviation: the end is meant for inputs with little wrong too."""
        return SPOILT / 60, SPOILT * 60


class OverFill:
    """Inpainting: the residual over the smooth fill of the holes.

    Outside the holes the base is the truth. With sigma_data = 0 there, c_skip = c_out = 0: the estimate is the input to
    the last bit at every step of the sampler, and the noisy frame, which holds no more than noise there, is neither
    used nor shown. What is known comes in through `picture`. Inside, the fill is the worse the farther from the rim, by
    a law in the depth alone; so near the rim little may be added, and the loss, in units of what is not known, holds
    the network to that: no seam.

    Unlike an enlargement, a hole misses its coarse shapes too, and those can be read where one pixel cannot: the mean
    of 8 x 8 pixels shows eight times less noise. So the network sees c_in (u - c), on one scale over the whole frame,
    so that base and residual add up to the noisy picture; it fades only above `SEEN` deviations. (250 steps on 8 crops
    of 64 pixels from super-resolution's weights, one run each, held-out loss at 1, 2.7 and 20 deviations: .38, .45 and
    1.64; with the linear estimate, which is SEEN = 1: .40, .47 and 1.73.) Condition, by name:
        picture: (B, 3, H, W) in [-1, 1], the input, smoothly continued into the holes, 0 if nothing is known.
        mask: (B, 1, H, W), 1 in the holes, else 0.
        depth: (B, 1, H, W), distance in pixels to the nearest known pixel's centre, 0 outside the holes.
        spectrum: (B,) the noise's, its index.
    A hole that is the whole frame makes it a prior of pictures without a task, as scale 0 does in super-resolution; it
    is told the same, so that weights of one task are a beginning for the other.
    """

    channels = 8

    SEEN = 8.0

    def unit(self, condition: Condition) -> Tensor:
        return torch.full_like(condition["picture"][:, 0, 0, 0], PRIOR)

    def sigma_data(self, condition: Condition) -> Tensor:
        return fill_deviation(condition["depth"])

    def inputs(self, residual: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        fade = self.SEEN * PRIOR * precondition.c_in(sigma, self.SEEN * PRIOR)
        shown = fade * precondition.c_in(sigma, PRIOR) * residual * condition["mask"]
        relative = self.sigma_data(condition) / PRIOR
        return torch.cat([shown, condition["picture"], condition["mask"], relative], 1)

    def labels(self, sigma: Tensor, condition: Condition) -> Tensor:
        return labels(sigma / PRIOR, torch.zeros_like(sigma), condition["spectrum"])

    def sigma_range(self, condition: Condition) -> tuple[float, float]:
        """1/100 and 4 times the deviation of pictures: detail near the rim is finer than that of pictures at large.

        The state starts as the smooth fill under that noise. From a higher level, where the fill is drowned, a small
        network paints coarse shapes that fit nothing around them; from a lower one it only grains the fill.
        """
        return PRIOR / 100, PRIOR * 4


def over_base(residual: Tensor, sigma: Tensor, sigma_data: Tensor, picture: Tensor) -> Tensor:
    """The linear estimate of the residual, in its standard deviations, and the base: two pictures, (B, 6, H, W)."""
    return torch.cat([precondition.c_skip(sigma, sigma_data) * residual / sigma_data, picture], 1)


def enlargement_deviation(scale: Tensor) -> Tensor:
    """Standard deviation of the residual over the bicubic enlargement, model units; of pictures where scale is 0.

    Measured on photographs: .08, .14, .19 at factors 2, 4, 8, linear in log2 between. (B,) -> (B,)
    """
    return torch.where(scale > 0, 0.03 + 0.055 * scale.clamp(min=1).log2(), torch.full_like(scale, PRIOR))


def fill_deviation(depth: Tensor) -> Tensor:
    """Standard deviation of the residual over the smooth fill, model units, at that depth; 0 outside the holes.

    Measured on crops of 128 pixels of photographs under random masks: .12, .18, .22, .27, .32, .41 at depths of 1, 3,
    6, 12, 24 and 48 pixels, .56 where nothing is known (`masks.FAR`, 1024 pixels); linear in log2. Any shape.
    """
    return torch.where(depth > 0, 0.115 + 0.045 * depth.clamp(min=1).log2(), torch.zeros_like(depth))


def labels(relative_sigma: Tensor, scale: Tensor, spectrum: Tensor) -> Tensor:
    """The network's labels, as waves of ln(s / unit) and log2(scale): (B,) each -> (B, LABELS)."""
    level = relative_sigma.log().clamp(max=HIGHEST_LEVEL)
    octaves = scale.clamp(min=1).log2()
    columns = [wave(level * frequency) for frequency in (0.25, 0.5, 1.0, 2.0) for wave in (torch.sin, torch.cos)]
    columns += [level / 2, octaves - 2, (scale == 0).float(), spectrum.float() * 2 - 1]
    columns += [wave(octaves * math.pi * frequency) for frequency in (0.25, 0.5) for wave in (torch.sin, torch.cos)]
    return torch.stack(columns, 1)


CONDITIONINGS: Mapping[str, Conditioning] = {
    "super-resolution": OverEnlargement(),
    "inpainting": OverFill(),
    "clean-up": OverInput(),
}
"""By the name of the task."""


def get_conditioning(task: str) -> Conditioning:
    """The conditioning of that task.   Raises: UserError if the embedded network has none."""
    if task not in CONDITIONINGS:
        raise UserError(f"the embedded network knows the tasks {', '.join(CONDITIONINGS)}, got {task!r}")
    return CONDITIONINGS[task]
