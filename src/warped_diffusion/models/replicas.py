"""Further copies of a model's denoiser: on a GPU of their own, or, on a CPU, in a process of their own."""

import multiprocessing
import signal
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from warped_diffusion.diffusion.contract import Condition, Denoiser
from warped_diffusion.errors import UserError
from warped_diffusion.models.model import load_model

PATIENCE = 5.0
"""Seconds that a process is given to end by itself."""


def replicas(devices: Sequence[torch.device], model: object, task: str, *how: Any) -> list[Denoiser]:
    """A replica on each of the devices, of the model that `load_model` makes of the same arguments.

    Raises: UserError for a model that the caller has made: only what has a name or a path can be loaded again.
    """
    if devices and not isinstance(model, str | Path):
        raise UserError("several devices need a model that can be loaded on each: give its name or path, or one device")
    return [
        InProcess(str(model), task, *how)
        if device.type == "cpu"
        else OnDevice(load_model(str(model), task, device, *how).denoiser, device)
        for device in devices
    ]


@dataclass(frozen=True)
class OnDevice:
    """A denoiser that is on another device than those who ask it."""

    denoiser: Denoiser
    device: torch.device

    def __call__(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        there = {name: value.to(self.device, non_blocking=True) for name, value in condition.items()}
        with torch.cuda.device(self.device):
            found = self.denoiser(noisy.to(self.device, non_blocking=True), sigma.to(self.device), there)
        return found.to(noisy.device)


class InProcess:
    """A denoiser in a process of its own, on the CPU, with as many threads as this one has; it ends with its owner.

    Args:
        model, task, how: those of `load_model`.
    """

    def __init__(self, model: str, task: str, *how: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        arguments = (other, torch.get_num_threads(), model, task, *how)
        process = context.Process(target=_serve, args=arguments, name="replica", daemon=True)
        process.start()
        other.close()
        self.close = weakref.finalize(self, _end, process, self._connection)
        """Ends the process."""

    def __call__(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """`Denoiser`'s contract.   Raises: RuntimeError for what went wrong there, or if the process has died."""
        try:
            self._connection.send((_plain(noisy), _plain(sigma), {n: _plain(value) for n, value in condition.items()}))
            found = self._connection.recv()
        except (EOFError, OSError) as error:
            raise RuntimeError("a replica's process has died, perhaps of too little memory") from error
        if isinstance(found, str):
            raise RuntimeError(f"in a replica's process: {found}")
        return torch.from_numpy(found)


def _plain(value: Tensor) -> Any:
    return value.detach().cpu().numpy()


def _end(process: Any, connection: Connection) -> None:
    connection.close()
    process.join(PATIENCE)
    if process.is_alive():
        process.terminate()


def _serve(connection: Connection, threads: int, model: str, task: str, *how: Any) -> None:
    """Answer until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C the owner decides
    torch.set_num_threads(threads)
    loaded = None
    while True:
        try:
            noisy, sigma, condition = connection.recv()
        except (EOFError, OSError):
            return
        try:
            with torch.no_grad():
                loaded = loaded or load_model(model, task, torch.device("cpu"), *how).denoiser
                given = {name: torch.as_tensor(value) for name, value in condition.items()}
                found: Any = loaded(torch.from_numpy(noisy), torch.from_numpy(sigma), given).numpy()
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
        connection.send(found)
