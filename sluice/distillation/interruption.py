"""SIGINT and SIGTERM, heard without dying at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):
    """The run was asked to stop, and its state is kept. `signal` is the number of the signal that asked."""

    def __init__(self, message: str, *, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


class Interruption:
    """Whether a signal has asked to stop, and which. The second one is not waited for: it does what it always did."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hear signals inside of this context; only a program's main thread can. One that is ignored stays so."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        found = {number: signal.getsignal(number) or signal.SIG_DFL for number in (signal.SIGINT, signal.SIGTERM)}
        former = {number: handler for number, handler in found.items() if handler is not signal.SIG_IGN}

        def hear(number: int, _frame: FrameType | None) -> None:
            self.signal = number
            for one, handler in former.items():
                signal.signal(one, handler)

        for number in former:
            signal.signal(number, hear)
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
