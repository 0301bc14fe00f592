"""Frames handed to a writer that works in a thread of its own, while the next ones are made."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from torch import Tensor

WAITING = 4
"""Frames that are handed over and not yet written, at most. They come one at a time, so more would only take memory."""


class Behind:
    """What `write` does with each frame, in order, by one second thread: a context manager.

    Whoever calls it waits only while `WAITING` frames are on their way. Nobody else may use the writer until `finish`
    has returned or the context has ended. Where that ends by an error, frames that still wait are dropped.

    Args:
        write: takes one frame, which must not be changed any more.
    Raises: what `write` raises, by a later call or by `finish`; no frame after that one is written.
    """

    def __init__(self, write: Callable[[Tensor], object]) -> None:
        self._write, self._failed = write, False
        self._thread = ThreadPoolExecutor(1, "behind")
        self._waiting: deque[Future[None]] = deque()

    def __call__(self, frame: Tensor) -> None:
        while self._waiting and (len(self._waiting) >= WAITING or self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._do, frame))

    def finish(self) -> None:
        """Wait until all frames are written."""
        while self._waiting:
            self._waiting.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self._thread.shutdown(cancel_futures=True)

    def _do(self, frame: Tensor) -> None:
        if self._failed:
            return
        self._failed = True
        self._write(frame)
        self._failed = False
