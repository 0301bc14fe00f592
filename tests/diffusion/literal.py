"""The sampler as the paper prints it, one frame after another and one step after another: the wavefront's oracle.

Nothing of the package's solvers or guidance is used: steps in the form of their own papers, the network's gradient by
automatic differentiation of e(u), the denoised correction by dense matrices. Every estimate is kept for ever.
"""

from math import expm1, log, sqrt

import torch
from torch import Tensor

from warped_diffusion.diffusion import Denoiser, FrameInput, Link

STEP = {"euler": 0.36, "dpmpp-2m": 0.36 / 1.5}


def literal_clip(
    denoiser: Denoiser, frames: list[FrameInput], sigmas: Tensor, solver: str, guidance: str, strength: float = 1.0
) -> list[Tensor]:
    """The clip's frames (C, H, W). `guidance` is none, network-literal, network-calibrated or denoised."""
    levels = sigmas.tolist()
    clip: list[Tensor] = []
    kept: list[list[Tensor]] = []
    for j, frame in enumerate(frames):
        u = levels[0] * frame.noise + (0 if frame.start is None else frame.start)
        kept.append([])
        for i, s in enumerate(levels[:-1]):
            u = u.detach().requires_grad_()
            h = evaluate(denoiser, u, s, frame)
            push = torch.zeros_like(u)
            if guidance == "denoised":
                h = h - strength * STEP[solver] * denoised_correction(h, frame.links, [k[i:] for k in kept])
            elif guidance.startswith("network") and (link := previous_link(j, frame)):
                e = (link.visible * link.warp.inside * (link.warp.apply(h) - kept[j - 1][i]) ** 2).sum()
                push = strength / e.detach().sqrt() * torch.autograd.grad(e, u)[0]
                push = push * (sqrt(u.numel() / 65536) if guidance == "network-calibrated" else 1)
            kept[j].append(h.detach())
            u = solver_step(solver, u, kept[j], levels, i) - push
        clip.append(u.detach())
    return clip


def evaluate(denoiser: Denoiser, u: Tensor, s: float, frame: FrameInput) -> Tensor:
    condition = {name: value[None] for name, value in frame.condition.items()}
    return denoiser(u[None], torch.tensor([s], dtype=u.dtype), condition)[0]


def previous_link(j: int, frame: FrameInput) -> Link | None:
    return next((link for link in frame.links if link.reference == j - 1), None)


def solver_step(solver: str, u: Tensor, estimates: list[Tensor], levels: list[float], i: int) -> Tensor:
    """u(t - dt) = u + dt (h - u) / s for Euler; algorithm 2 of DPM-Solver++ in its own lambda = -log s."""
    s, s_next, h = levels[i], levels[i + 1], estimates[-1]
    if solver == "euler":
        return u + (s - s_next) * (h - u) / s
    if s_next == 0:
        return h
    width = log(s) - log(s_next)
    if i > 0:
        r = (log(levels[i - 1]) - log(s)) / width
        h = (1 + 1 / (2 * r)) * h - 1 / (2 * r) * estimates[-2]
    return s_next / s * u - expm1(-width) * h


def denoised_correction(h: Tensor, links: tuple[Link, ...], kept: list[list[Tensor]]) -> Tensor:
    """The key's link, the first, pulls; the previous frame's pulls and blends in halves (DenoisedGuidance)."""
    total = torch.zeros_like(h)
    for place, link in enumerate(links):
        A = matrix(link)
        M = (link.visible * link.warp.inside).flatten()
        gain = (A.T @ M).clamp(min=1)
        reference = kept[link.reference][0].flatten(1)
        pull = ((h.flatten(1) @ A.T - reference) * M) @ A / gain
        if place == 0:
            total = total + pull.reshape(h.shape)
            continue
        reach = A.T @ M
        brought = (reference * M) @ A / reach.clamp(min=0.1)
        blend = link.known.flatten() * (reach > 0.1) * (h.flatten(1) - brought)
        total = total + (link.weight * (pull + blend) / 2).reshape(h.shape)
    return total


def matrix(link: Link) -> Tensor:
    """A as (pixels of the reference, pixels of the frame), by applying it to every unit image."""
    height, width = link.warp.size
    basis = torch.eye(height * width, dtype=torch.float64).reshape(-1, height, width)
    return link.warp.apply(basis).flatten(1).T
