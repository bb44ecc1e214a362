"""An event loop whose clock jumps to the next timer instead of waiting for it: minutes of mesh in seconds of test."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class _NoWaiting(selectors.SelectSelector):
    """Nothing ever comes from outside; to wait is to let the clock jump."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise AssertionError("everybody waits for somebody else")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop in virtual time. Nothing in it may use threads or sockets."""

    def __init__(self) -> None:
        self._no_waiting = _NoWaiting()
        super().__init__(self._no_waiting)

    def time(self) -> float:
        """Virtual seconds."""
        return self._no_waiting.now


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """What `main` comes to, run in virtual time from start to end."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
