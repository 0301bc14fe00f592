"""Clips of a batch, each in a process of its own: what kills one, a decoder or too little memory, spares the others."""

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from warped_diffusion.batch import Clip, Outcome, died
from warped_diffusion.errors import UserError

Work = Callable[[Clip], Outcome]


@dataclass(frozen=True)
class Processes:
    """A `Runner`: so many clips at the same time, each in a new process with its share of the cores.

    On the first interrupt (Ctrl-C) the clips under way are interrupted and told of, and no other begins; a second one
    ends them at once.

    Raises: UserError for fewer than one.
    """

    jobs: int = 1

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise UserError(f"jobs is a whole number from 1 up, got {self.jobs}")

    def __call__(self, work: Work, clips: Sequence[Clip]) -> Iterator[Outcome]:
        waiting = deque(clips)
        running: dict[Connection, tuple[BaseProcess, Clip]] = {}
        stopping = False
        threads = max(1, torch.get_num_threads() // self.jobs)
        try:
            while waiting or running:
                try:
                    while waiting and len(running) < self.jobs:
                        connection, process = _start(work, waiting[0], threads)
                        running[connection] = process, waiting.popleft()
                    ready = [connection for connection in wait(list(running)) if isinstance(connection, Connection)]
                except KeyboardInterrupt:
                    waiting.clear()
                    stopping = True
                    for process, _ in running.values():
                        _interrupt(process)
                    continue
                for connection in ready:
                    yield _outcome(connection, *running.pop(connection), stopping)
        finally:
            for process, _ in running.values():
                process.terminate()


def _start(work: Work, clip: Clip, threads: int) -> tuple[Connection, BaseProcess]:
    # A server that has imported everything and done nothing is forked: quick, and safe with threads and GPUs.
    context: Any = get_context("spawn" if sys.platform == "win32" else "forkserver")
    if sys.platform != "win32":
        context.set_forkserver_preload([__name__])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(sender, work, clip, threads), daemon=True)
    process.start()
    sender.close()
    return receiver, process


def _serve(sender: Connection, work: Work, clip: Clip, threads: int) -> None:
    """In the new process, which leaves the group that a terminal's Ctrl-C goes to: the first process tells it."""
    try:
        if hasattr(os, "setpgrp"):
            os.setpgrp()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        torch.set_num_threads(threads)
        outcome = work(clip)
    except KeyboardInterrupt:
        outcome = Outcome(clip, "stopped")
    sender.send(outcome)


def _outcome(connection: Connection, process: BaseProcess, clip: Clip, stopping: bool) -> Outcome:
    try:
        outcome = connection.recv()
    except EOFError:
        outcome = None
    connection.close()
    process.join()
    if isinstance(outcome, Outcome):
        return outcome
    if stopping:  # before it had begun
        return Outcome(clip, "stopped")
    code = process.exitcode or 0
    with suppress(ValueError):
        return died(clip, f"was ended by {signal.Signals(-code).name}")
    return died(clip, f"ended with exit code {code}")


def _interrupt(process: BaseProcess) -> None:
    if sys.platform == "win32" or process.pid is None:
        process.terminate()
        return
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGINT)
