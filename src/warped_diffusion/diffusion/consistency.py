r"""Any model of clean pictures as a solver of linear tasks: its estimate is projected towards the measurement.

For y = A x + noise of deviation s_y, and x normal about the estimate h with deviation r, the mean of x given y is

    argmin_x |A x - y|^2 / s_y^2 + |x - h|^2 / r^2  =  h + A^T (A A^T + s_y^2 / r^2)^-1 (y - A h),

which is pseudoinverse guidance with the Jacobian dh/du replaced by r^2 / s^2, so that nothing goes back through the
network, and the proximal step of DiffPIR. Without noise it is DDNM's h + A^+ (y - A h). As in the first of these

    r^2 = S^2 s^2 / (s^2 + d^2),

s the noise level, d and S the deviations of what the model makes, in its own units and as pictures: what is left open
of a normal variable of deviation S, seen under noise of level s. For such pictures the result is exact.

Song et al.: Pseudoinverse-Guided Diffusion Models for Inverse Problems, 2023. Zhu et al.: Denoising Diffusion Models
for Plug-and-Play Image Restoration, 2023. Wang et al.: Zero-Shot Image Restoration Using Denoising Diffusion Null-Space
Model, 2023.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from warped_diffusion.diffusion.contract import Codec, Condition, Denoiser
from warped_diffusion.diffusion.operators import Operator
from warped_diffusion.errors import ShapeError, UserError

SPREAD = 0.5
"""Standard deviation of pictures, model units."""

ITERATIONS = 100
TOLERANCE = 1e-5
"""Conjugate gradients end when the residual is that small beside the right-hand side, or after `ITERATIONS`."""

LEVEL_TOLERANCE = 1e-5
"""Relative: levels are listed in double precision and arrive in single."""


@dataclass(frozen=True)
class Consistent:
    r"""A denoiser whose estimates agree with what was measured.

    The condition holds `measurement`, (B, C, h, w) in [-1, 1], beside what the denoiser takes itself; items do not mix.
    For a latent model the estimate is decoded and projected, and what that changed is encoded:

        h <- h + encode(x') - encode(x),   x = decode(h),   x' = x projected,

    so that what a codec loses on the way there and back is not lost from h at every step.

    Attributes:
        denoiser: of pictures or, with a codec, of latents.
        operator: A, given the condition of a batch.
        noise: s_y, the deviation of the measurement's noise, model units. With 0 the measurement is met exactly, or as
            far as `ITERATIONS` of conjugate gradients go.
        spread: S, the deviation of pictures.
        unit: d, the deviation of what the denoiser makes, in units of sigma; None for `spread`. About 1 for latents.
        codec: of a latent model.
        levels: the noise levels at which to project (see `some_levels`), None for all.
    Raises: UserError for a noise, spread or unit that is not a number from 0 up, or above 0.
    """

    denoiser: Denoiser
    operator: Callable[[Condition], Operator]
    noise: float = 0.0
    spread: float = SPREAD
    unit: float | None = None
    codec: Codec | None = None
    levels: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not (isfinite(self.noise) and self.noise >= 0):
            raise UserError(f"the deviation of a measurement's noise is a number from 0 up, got {self.noise}")
        for name, value in (("spread", self.spread), ("unit", 1.0 if self.unit is None else self.unit)):
            if not (isfinite(value) and value > 0):
                raise UserError(f"{name} is a deviation, above 0, got {value}")

    def __call__(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """`Denoiser`'s contract.

        Raises: UserError if the condition has no measurement, ShapeError if it is not of the size of A x.
        """
        if "measurement" not in condition:
            raise UserError(f"consistency needs a 'measurement' in the condition, which has {', '.join(condition)}")
        denoised = self.denoiser(noisy, sigma, condition)
        denoised = denoised.to(torch.promote_types(denoised.dtype, torch.float32))
        acts = self.acts(sigma)
        if not acts.any():
            return denoised
        items = {name: value[acts] for name, value in condition.items()}
        return denoised.index_put((acts,), self.corrected(denoised[acts], sigma[acts], items))

    def acts(self, sigma: Tensor) -> Tensor:
        """(B,) booleans: which items stand at a level at which to project."""
        if self.levels is None:
            return torch.ones_like(sigma, dtype=torch.bool)
        levels = torch.tensor(self.levels, dtype=sigma.dtype, device=sigma.device)
        return torch.isclose(sigma[:, None], levels, rtol=LEVEL_TOLERANCE, atol=0).any(1)

    def ratio(self, sigma: Tensor) -> Tensor:
        """(B,) s_y^2 / r^2 of estimates at those noise levels."""
        unit = self.spread if self.unit is None else self.unit
        return self.noise**2 / self.spread**2 * (1 + (unit / sigma) ** 2)

    def corrected(self, denoised: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Estimates, in the denoiser's own space, that agree."""
        ratio, operator, measured = self.ratio(sigma), self.operator(condition), condition["measurement"]
        if self.codec is None:
            return project(denoised, measured, operator, ratio)
        pictures = self.codec.decode(denoised)
        projected = project(pictures, measured, operator, ratio)
        return denoised + (self.codec.encode(projected) - self.codec.encode(pictures)).to(denoised)


def project(pictures: Tensor, measured: Tensor, operator: Operator, ratio: Tensor) -> Tensor:
    r"""x + A^T z,   (A A^T + ratio) z = y - A x.

    Args:
        pictures, measured: x (B, C, H, W) and y (B, C, h, w).
        ratio: (B,) s_y^2 / r^2.
    Returns: (B, C, H, W).
    Raises: ShapeError if y is not of the shape of A x.
    """
    expected = operator.apply(pictures)
    if expected.shape != measured.shape:
        raise ShapeError(
            f"the measurement is {tuple(measured.shape)}, the operator makes {tuple(expected.shape)} of estimates "
            f"{tuple(pictures.shape)}: give what that operator made of frames of that size"
        )
    residual, ratio = measured - expected, ratio[:, None, None, None]
    if operator.gram is None:
        z = conjugate_gradients(lambda v: operator.apply(operator.adjoint(v)) + ratio * v, residual)
    else:
        total = operator.gram + ratio
        z = torch.where(total > 0, residual / torch.where(total > 0, total, 1), 0)
    return pictures + operator.adjoint(z)


def conjugate_gradients(
    matrix: Callable[[Tensor], Tensor], right: Tensor, iterations: int = ITERATIONS, tolerance: float = TOLERANCE
) -> Tensor:
    """z with matrix(z) = right, item by item of a batch.

    An item rests once its residual is `tolerance` times its right-hand side, so it comes out as it would by itself.

    Args:
        matrix: symmetric, not negative, and does not mix items.
        right: (B, ...).
    Returns: (B, ...), the best found in `iterations`.
    """

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).flatten(1).sum(1).reshape(-1, *[1] * (right.ndim - 1))

    z, residual, direction = torch.zeros_like(right), right, right
    square = dot(residual, residual)
    goal = tolerance**2 * square
    for _ in range(iterations):
        image = matrix(direction)
        curvature = dot(direction, image)
        active = (square > goal) & (curvature > 0)
        if not active.any():
            break
        step = torch.where(active, square / torch.where(active, curvature, 1), 0)
        z, residual = z + step * direction, residual - step * image
        previous, square = square, torch.where(active, dot(residual, residual), square)
        direction = torch.where(active, residual + square / torch.where(active, previous, 1) * direction, direction)
    return z


def some_levels(sigmas: Tensor | Sequence[float], count: int) -> tuple[float, ...]:
    """`count` of the levels at which a sampler asks for an estimate, evenly over its steps, the last among them.

    Args:
        sigmas: (steps + 1,), decreasing, the last one not asked for.
        count: at least 1; all of them if there are not so many.
    Raises: UserError for a count below 1.
    """
    if count < 1:
        raise UserError(f"consistency acts at 1 level or more, got {count}")
    asked = [float(sigma) for sigma in sigmas][:-1]
    count = min(count, len(asked))
    return tuple(asked[(place + 1) * len(asked) // count - 1] for place in range(count))
