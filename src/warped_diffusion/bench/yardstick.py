r"""The paper's algorithm as it is printed, word for word: what the product's speed is measured by.   [paper, alg. 1]

One frame after another, one step after another, the gradient of the warping error taken back through the network,
noise by a plain sum of cosines, composition by bilinear interpolation. Nothing is prepared, shared or batched. Of the
product it takes the network, the noise levels and the flow, and no part of the sampler, the guidance or the noise.

One sign is not as printed: the paper's Euler step leads away from the estimate (docs/notation.md).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from warped_diffusion.diffusion.contract import Condition, Denoiser
from warped_diffusion.estimators import estimate_motion
from warped_diffusion.flow import Motion, identity_map
from warped_diffusion.models import Model
from warped_diffusion.tasks import Task

FEATURES, TRUNCATION, LENGTH = 3000, 2.0, 2 / math.pi
"""Cosines of the random function, where its frequencies are cut, its kernel's width in pixels.   [paper, App. 12.2]"""

POINTS = 2**12
"""Pixels whose cosines are held at a time: all of a frame's would not fit into memory."""


@dataclass(frozen=True, eq=False)
class Cosines:
    r"""ξ_c(x) = √(2/J) Σ_j w_cj cos(⟨z_j, x⟩ + b_j),  z_j ~ N(0, ε⁻² I) cut at 2/ε along each axis.   [paper, §3.1]

    Attributes:
        frequencies: z, (J, 2), rad/px; phases: b, (J,); weights: w, (C, J).
    """

    frequencies: Tensor
    phases: Tensor
    weights: Tensor

    @classmethod
    def draw(cls, channels: int, generator: torch.Generator) -> "Cosines":
        """Of the paper's numbers."""
        frequencies = torch.zeros(FEATURES, 2)
        torch.nn.init.trunc_normal_(frequencies, 0, 1 / LENGTH, -TRUNCATION / LENGTH, TRUNCATION / LENGTH, generator)
        phases = 2 * math.pi * torch.rand(FEATURES, generator=generator)
        return cls(frequencies, phases, torch.randn(channels, FEATURES, generator=generator))

    def __call__(self, positions: Tensor) -> Tensor:
        """(H, W, 2) pixels -> (C, H, W)."""
        points = positions.reshape(-1, 2)
        parts = []
        for some in points.split(POINTS):
            waves = torch.cos(some @ self.frequencies.T + self.phases)
            parts.append(math.sqrt(2 / len(self.phases)) * waves @ self.weights.T)
        return torch.cat(parts).T.reshape(-1, *positions.shape[:2])


def literal_clip(
    denoiser: Denoiser,
    conditions: Sequence[Condition],
    starts: Sequence[Tensor | None],
    motion: Motion,
    noise: Cosines,
    sigmas: Tensor | Sequence[float],
    strength: float = 1.0,
) -> Iterator[Tensor]:
    """The algorithm's frames (C, H, W), in the denoiser's units.

    Args:
        conditions, starts: of every frame, as the denoiser takes them, without a batch dimension.
        motion: T_j and its inverse; which pixels stay within the frame is all that is asked of it otherwise.
        sigmas: noise levels, falling.
        strength: λ; the paper found 1 best.
    """
    levels = [float(sigma) for sigma in sigmas]
    positions = identity_map(*motion.size)
    before: list[Tensor] = []  # the previous frame's estimates, one for each step
    for j, (condition, start) in enumerate(zip(conditions, starts, strict=True)):
        if j > 0:
            positions = composed(positions, motion.backward[j - 1])
        u = levels[0] * noise(positions) + (0 if start is None else start)
        batch = {name: value[None] for name, value in condition.items()}
        estimates = []
        for i, (sigma, sigma_next) in enumerate(pairwise(levels)):
            u = u.detach().requires_grad_(j > 0)
            with torch.set_grad_enabled(j > 0):
                h = denoiser(u[None], torch.tensor([sigma]), batch)[0]
                u_next = u.detach() + (sigma - sigma_next) / sigma * (h.detach() - u.detach())
                if j > 0:
                    e = error(h, before[i], motion.forward[j - 1])
                    (gradient,) = torch.autograd.grad(e, u)
                    if e > 0:
                        u_next = u_next - strength / e.detach().sqrt() * gradient
            estimates.append(h.detach())
            u = u_next
        before = estimates
        yield u.detach()


def error(estimate: Tensor, before: Tensor, forward: Tensor) -> Tensor:
    """|h ∘ T − h_before|², summed over the pixels that stay within the frame: a scalar."""
    height, width = estimate.shape[-2:]
    last = forward.new_tensor([width - 1, height - 1])
    inside = ((forward >= 0) & (forward <= last)).all(-1)
    return ((bilinear(estimate, forward) - before).square() * inside).sum()


def bilinear(image: Tensor, positions: Tensor) -> Tensor:
    """(C, H, W) at (H, W, 2) -> (C, H, W)."""
    height, width = image.shape[-2:]
    grid = 2 * positions / positions.new_tensor([width - 1, height - 1]) - 1
    return F.grid_sample(image[None], grid[None], padding_mode="border", align_corners=True)[0]


def composed(outer: Tensor, inner: Tensor) -> Tensor:
    """outer(inner(x)), (H, W, 2) each; beyond the frame the displacement of its edge holds."""
    moved = outer - identity_map(*outer.shape[:2])
    return inner + bilinear(moved.movedim(-1, 0), inner).movedim(0, -1)


def restored(
    frames: Tensor, task: Task, model: Model, sigmas: Tensor | Sequence[float], seed: int, flow: str = "refined"
) -> Iterator[Tensor]:
    """A degraded clip (N, 3, h, w) in [0, 1], restored by the algorithm: (3, H, W) in [0, 1] each.

    `model` is one of pictures that knows the squared-exponential spectrum.
    """
    size = task.output_size((frames.shape[-2], frames.shape[-1]))
    motion = estimate_motion(frames, size, flow)
    spectrum = torch.tensor(model.spectra.index("squared-exponential"))
    conditions = []
    for frame in frames:
        batch = model.prepare(task.condition(frame[None]))
        conditions.append({name: value[0] for name, value in batch.items()} | {"spectrum": spectrum})
    noise = Cosines.draw(model.channels, torch.Generator().manual_seed(seed))
    starts = [model.start(condition) for condition in conditions]
    for state in literal_clip(model.denoiser, conditions, starts, motion, noise, sigmas):
        yield ((state + 1) / 2).clamp(0, 1)
