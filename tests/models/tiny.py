"""A network that is small in width but of the shipped depth, with random weights: shipped weights begin as zeros."""

import torch
from torch import Tensor, nn

from warped_diffusion.models.embedded import EmbeddedDenoiser

SHALLOW = {"channels": (8, 8), "depths": (1, 1), "depths_up": (1, 0)}


def scatter(network: nn.Module, spread: float = 0.3, seed: int = 0) -> nn.Module:
    """Random weights of that standard deviation in place of all of the network's own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return network.requires_grad_(False)


def tiny_denoiser(seed: int = 0, task: str = "super-resolution") -> EmbeddedDenoiser:
    """An `EmbeddedDenoiser` of one level below the first, with random weights."""
    denoiser = EmbeddedDenoiser(SHALLOW, task)
    scatter(denoiser, 0.1, seed)
    return denoiser


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
