"""Memory: what to do when a GPU's does not suffice, said instead of a traceback, and what the system gets back."""

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import TypeVar

import torch

from warped_diffusion.errors import UserError
from warped_diffusion.models import PretrainedOptions, is_checkpoint
from warped_diffusion.options import Options

TILE = 512
"""Pixels a side: what is proposed first."""


@contextmanager
def loading(options: Options) -> Iterator[None]:
    """While a model is loaded and prepared.   Raises: UserError where memory does not suffice."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise _too_little("to load the model", _of_the_model(options), error) from error


Frame = TypeVar("Frame")
"""Whatever stands for one."""


def sampling(frames: Iterator[Frame], options: Options, lanes: int) -> Iterator[Frame]:
    """The frames as they are sampled, `lanes` at a time.   Raises: UserError where memory does not suffice."""
    ways = [f"--lanes 1, not {lanes},"] if lanes > 1 else []
    ways += ["--guidance denoised"] if options.guidance == "network" else []
    smaller = options.tile // 2 if isinstance(options.tile, int) else TILE
    ways += [f"--tile {smaller}", *_of_the_model(options)]
    try:
        yield from frames
    except torch.OutOfMemoryError as error:
        raise _too_little("to restore these frames", ways, error) from error


def _of_the_model(options: Options) -> list[str]:
    """What makes a pretrained model smaller; nothing of an embedded one, or one that the caller has made."""
    if not is_checkpoint(options.model):
        return []
    chosen = options.pretrained or PretrainedOptions()
    waiting = {"none": ["--offload model"], "model": ["--offload sequential"]}.get(chosen.offload, [])
    return waiting + (["--dtype bf16"] if chosen.dtype == "fp32" else [])


def _too_little(purpose: str, ways: list[str], error: Exception) -> UserError:
    told = (str(error).strip() or "out of memory").splitlines()[0].split(". ")
    cure = " or ".join(ways or ["--device cpu"])
    return UserError(f"the GPU's memory is too small {purpose} ({'. '.join(told[:2])}): give {cure}")


def give_back() -> None:
    """Free what only refers to itself, and hand all that is free to the system: glibc would keep it in pieces."""
    gc.collect()
    _trim()(0)


@cache
def _trim() -> Callable[[int], object]:
    with suppress(AttributeError, OSError):
        return ctypes.CDLL(None).malloc_trim
    return lambda _: None
