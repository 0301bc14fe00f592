"""Work in another process that is killed when it takes too long: what hangs in a decoder is not to be interrupted."""

import faulthandler
import multiprocessing
import re
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

PATIENCE = 30.0
"""Seconds by the clock, whatever else runs on the machine."""

TICK = 0.1
"""Seconds between two looks at the clock. A machine that stands still as a whole, as a virtual one can, costs one."""

BEGINNING = 300.0
"""Seconds until a new process has imported everything."""


class Watched:
    """A function that is called in one process after the other, a new one where the last was killed or died.

    Args:
        work: to be called; a module's own, so that the process finds it.
        patience: seconds that a call may take.
    """

    def __init__(self, work: Callable[..., Any], patience: float = PATIENCE) -> None:
        self._work, self._patience = work, patience
        self._traces = NamedTemporaryFile("w+")  # noqa: SIM115
        self._process: Any = None
        self._pipe: Connection | None = None

    def __call__(self, *arguments: object) -> Any:
        """What the work returns.   Raises: TimeoutError once it is killed, ChildProcessError where it died."""
        if self._pipe is None:
            self._begin()
        assert self._pipe is not None
        self._pipe.send(arguments)
        if not any(self._pipe.poll(TICK) for _ in range(round(self._patience / TICK))):
            where = self._where()
            self.end()
            raise TimeoutError(f"{arguments} took more than {self._patience} s: {where}")
        return self._receive(arguments)

    def end(self) -> None:
        if self._pipe is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
        self._pipe = self._process = None

    def _where(self) -> str:
        """What all threads of the process are at, and how the system takes it to be."""
        self._traces.seek(0)
        status = Path(f"/proc/{self._process.pid}/status")
        states = re.findall(r"State:.*", status.read_text()) if status.exists() else []
        return "\n".join([*states, self._traces.read()])

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, self._work, self._patience, self._traces.name), daemon=True
        )
        self._process.start()
        theirs.close()
        assert self._pipe.poll(BEGINNING)
        self._receive("the beginning")

    def _receive(self, what: object) -> Any:
        assert self._pipe is not None
        try:
            return self._pipe.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            self.end()
            raise ChildProcessError(f"{what} ended the process, exit code {code}") from None


def _serve(pipe: Connection, work: Callable[..., Any], patience: float, traces: str) -> None:
    """In the process; where it hangs is told shortly before it is killed."""
    faulthandler.enable()
    pipe.send(None)
    with open(traces, "w") as file:
        while True:
            arguments = pipe.recv()
            faulthandler.dump_traceback_later(0.9 * patience, file=file)
            outcome = work(*arguments)
            faulthandler.cancel_dump_traceback_later()
            pipe.send(outcome)
