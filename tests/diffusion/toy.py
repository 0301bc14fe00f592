"""Small things to sample with: a denoiser with random weights, and a clip that moves by a known motion."""

import torch
import torch.nn.functional as F
from torch import Tensor

from warped_diffusion.diffusion import FrameInput, Link, karras_sigmas
from warped_diffusion.flow.kernels import Warp
from warped_diffusion.flow.maps import compose
from warped_diffusion.flow.motion import Motion

CHANNELS, HEIGHT, WIDTH = 2, 10, 12
SIGMAS = karras_sigmas(steps=5, sigma_min=0.05, sigma_max=3.0)


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class ToyDenoiser:
    """A two-layer convolution with fixed weights behind EDM's skip. It notes the size of every batch it is given."""

    def __init__(self) -> None:
        self.inner = randn(6, CHANNELS + 1, 3, 3, seed=1) / 4
        self.outer = randn(CHANNELS, 6, 3, 3, seed=2) / 4
        self.batches: list[int] = []

    def __call__(self, noisy: Tensor, sigma: Tensor, condition: dict[str, Tensor]) -> Tensor:
        self.batches.append(len(noisy))
        s = sigma[:, None, None, None]
        hidden = torch.cat([noisy / (1 + s**2).sqrt(), condition["picture"]], dim=1)
        hidden = torch.tanh(F.conv2d(hidden, self.inner.to(noisy), padding=1))
        return noisy / (1 + s**2) + s / (1 + s**2).sqrt() * F.conv2d(hidden, self.outer.to(noisy), padding=1)


def moving_clip(count: int = 7, kernel: str = "lanczos3", previous_weight: float = 0.5) -> list[FrameInput]:
    """Frames of independent noise with links along a turning, shifting motion.

    Key frames are 0 and 3; frame 5 begins a new shot. Frames 1, 4 and 6 have their key frame as previous frame.
    """
    motion = Motion.analytic(count, (HEIGHT, WIDTH), shift=(0.6, -0.3), rotation=2.0)
    forward, visible, known = motion.forward.double(), motion.visible.double(), motion.known.double()
    frames, key, to_key = [], 0, None
    for j in range(count):
        links: tuple[Link, ...] = ()
        if j not in (0, 5):
            T = forward[j - 1]
            to_key = T if to_key is None else compose(T, to_key)
            links = (Link(key, Warp(to_key, (HEIGHT, WIDTH), kernel), visible[j - 1], known[j - 1] * _ramp()),)
            if key != j - 1:
                previous = Link(j - 1, Warp(T, (HEIGHT, WIDTH), kernel), visible[j - 1], known[j - 1], previous_weight)
                links = (*links, previous)
        if is_key := j in (0, 3, 5):
            key, to_key = j, None
        frames.append(
            FrameInput(
                noise=randn(CHANNELS, HEIGHT, WIDTH, seed=100 + j),
                condition={"picture": randn(1, HEIGHT, WIDTH, seed=200 + j)},
                links=links,
                start=randn(CHANNELS, HEIGHT, WIDTH, seed=300 + j) / 2,
                is_key=is_key,
            )
        )
    return frames


def _ramp() -> Tensor:
    """Coverage that falls from 1 to 0 across the frame, so that the blend of anchors is seen to act."""
    return torch.linspace(1, 0, WIDTH, dtype=torch.float64).expand(HEIGHT, WIDTH)
