"""What waits to be written on one stream, and whether all of it has been."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from sluice.v1 import worker_service_pb2 as worker_pb2


class Outbox:
    """Written in order by one writer. Bounded by the credits of the stream and the changes of its card."""

    def __init__(self) -> None:
        self._waiting: deque[worker_pb2.ExecuteResponse] = deque()
        self._filled = asyncio.Event()
        self._flushed = asyncio.Event()
        self._flushed.set()
        self._closed = False

    def put(self, response: worker_pb2.ExecuteResponse) -> None:
        """Write `response` after what waits."""
        self._waiting.append(response)
        self._flushed.clear()
        self._filled.set()

    async def write_all(self, write: Callable[[worker_pb2.ExecuteResponse], Awaitable[None]]) -> None:
        """Write until closed, or until the stream breaks, which this raises."""
        try:
            while not self._closed:
                await self._filled.wait()
                while self._waiting and not self._closed:
                    await write(self._waiting.popleft())
                self._filled.clear()
                self._flushed.set()
        finally:
            self._flushed.set()

    def close(self) -> None:
        """Let the writer end after the message that it is writing: a call cannot be ended in the middle of one."""
        self._closed = True
        self._filled.set()

    async def flushed(self) -> None:
        """Return when everything has been written, or nothing can be any more."""
        await self._flushed.wait()
