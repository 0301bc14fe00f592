"""Keyed random numbers: the same key gives the same numbers whatever the device, the order or the number of lanes."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from warped_diffusion.errors import UserError

Seed = int | Sequence[int]
"""An integer, or a key such as (seed, shot) or (seed, shot, frame); all of them zero or greater."""

FILL, SUBPIXELS, FRESH, AROUND = 2**31, 2**31 + 1, 2**31 + 2, 2**31 + 3
"""Entries of a key that no frame's number reaches: what fills up carried noise, noise between the pixels, noise drawn
anew in every frame, and what surrounds a frame that a new function begins with."""


def keyed(seed: Seed) -> np.random.Generator:
    """A generator of random numbers that are a function of `seed` alone.

    Keys of different length are different keys: (7,), (7, 0) and (7, 0, 0) are independent of one another.

    Raises: UserError if an entry of `seed` is not an integer >= 0.
    """
    key = tuple(seed) if isinstance(seed, Sequence) else (seed,)
    if not key or not all(isinstance(entry, int | np.integer) and entry >= 0 for entry in key):
        raise UserError(f"seed is {seed!r}: give an integer, or a tuple of integers, none of them negative")
    first, *rest = map(int, key)
    # SeedSequence pads its entropy with zeros, so entropy (7,) and (7, 0) are one stream; spawn keys are kept apart.
    return np.random.default_rng(np.random.SeedSequence(first, spawn_key=rest))


def standard_normal(seed: Seed, shape: Sequence[int]) -> Tensor:
    """Independent N(0, 1) numbers of that shape, float64 on the CPU, a function of `seed` alone (see `keyed`)."""
    return torch.from_numpy(keyed(seed).standard_normal(tuple(shape)))
