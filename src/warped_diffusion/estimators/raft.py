"""Optical flow by RAFT, a trained network, through torchvision: weights of 20 MB (small: 4 MB), made for a GPU."""

import contextlib
import pickle
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from warped_diffusion.errors import UserError

STRIDE, SMALLEST = 8, 128
"""Pixels: what RAFT's sides must be divisible by, and the least that its four levels of correlation take."""

SIZES = {"large": ("raft_large", "Raft_Large_Weights"), "small": ("raft_small", "Raft_Small_Weights")}
"""What torchvision calls the network and its weights."""

WAY_OUT = "or use --flow dis or refined, which need no download"

Network = Callable[[Tensor, Tensor], Sequence[Tensor]]
"""(from, to), each (N, 3, h, w) in [-1, 1] -> displacements, (N, 2, h, w) pixels, ever better, the best last."""


def estimate_raft(earlier: Tensor, later: Tensor, size: str = "large") -> tuple[Tensor, Tensor]:
    """Displacements between two frames, both ways, by RAFT with torchvision's default weights.

    It runs where the frames are, and on the first GPU if they are on the CPU. The weights are fetched once, into
    torch.hub's cache. Memory grows with the square of the pixels: beyond 2.2 GB at 1280 × 720, 11 GB at 1920 × 1080.

    Args:
        earlier, later: (3, H, W) in [0, 1].
        size: "large" or "small".
    Returns: (forward, backward), each (H, W, 2) float32 pixels, (x, y), on the device of `earlier`.
    Raises: UserError if torchvision or the weights are not to be had.
    """
    device = earlier.device
    if device.type == "cpu" and torch.cuda.is_available():
        device = torch.device("cuda")
    forward, backward = raft_flow(load_network(size, device), earlier.to(device), later.to(device))
    return forward.to(earlier.device), backward.to(earlier.device)


@torch.no_grad()
def raft_flow(network: Network, earlier: Tensor, later: Tensor) -> tuple[Tensor, Tensor]:
    """(forward, backward), each (H, W, 2) float32, of two frames, (3, H, W) in [0, 1], on the network's device.

    One batch for both. Where the network wants larger frames, their edges are continued on all sides.
    """
    height, width = earlier.shape[-2:]
    (left, right), (top, bottom) = _margins(width), _margins(height)
    frames = torch.stack([earlier, later]).float() * 2 - 1
    frames = F.pad(frames, (left, right, top, bottom), mode="replicate")
    flows = network(frames, frames.flip(0))[-1][..., top : top + height, left : left + width]
    forward, backward = flows.movedim(1, -1).contiguous()
    return forward, backward


@cache
def load_network(size: str, device: torch.device) -> Network:
    """The network, "large" or "small", with its weights, built once. Raises: UserError as `estimate_raft`."""
    library = _torchvision()
    network, url = _builder(library, size), _url(library, size)
    path = weights_path(url)
    try:
        # The library tells of its download on stdout, which is for data.
        with contextlib.redirect_stdout(sys.stderr):
            weights = torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
        network.load_state_dict(weights, assign=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        if path.exists():
            raise UserError(f"{path} does not hold RAFT's weights: delete it to fetch it again, {WAY_OUT}") from error
        raise UserError(
            f"RAFT's weights are not in {path} and cannot be fetched ({error}): put {url} there, {WAY_OUT}"
        ) from error
    return network.eval().requires_grad_(False).to(device)


def weights_path(url: str) -> Path:
    """Where torch.hub keeps what it fetched from there."""
    return Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])


def _torchvision() -> ModuleType:
    try:
        from torchvision.models import optical_flow
    except (ImportError, RuntimeError) as error:  # the latter where it was built for another torch
        install = 'pip install "warped-diffusion[raft]"'
        raise UserError(f"RAFT needs torchvision, which cannot be imported ({error}): {install}, {WAY_OUT}") from error
    return optical_flow


def _builder(library: ModuleType, size: str) -> torch.nn.Module:
    """The network without values: none are drawn, so the caller's random numbers stay as they are."""
    with torch.device("meta"):
        return getattr(library, SIZES[size][0])()


def _url(library: ModuleType, size: str) -> str:
    return getattr(library, SIZES[size][1]).DEFAULT.url


def _margins(side: int) -> tuple[int, int]:
    """Pixels to add before and behind."""
    missing = max(-(-side // STRIDE) * STRIDE, SMALLEST) - side
    return missing // 2, missing - missing // 2
