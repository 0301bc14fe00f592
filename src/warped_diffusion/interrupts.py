"""Ctrl-C as a wish that is granted when it suits, instead of an exception wherever it falls."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interrupts:
    """While it is entered the first Ctrl-C is only noted; the second one is what it always was.

    It acts in the main thread alone: elsewhere Python lets nobody handle signals, and nothing is ever noted.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._before: object = None

    def __call__(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self.wanted

    def __enter__(self) -> Self:
        # Whoever has a handler of their own keeps it.
        own = threading.current_thread() is threading.main_thread()
        if own and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
