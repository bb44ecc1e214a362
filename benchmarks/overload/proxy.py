"""A TCP proxy between members and governor that can fall silent, as a partitioned network does: nothing is closed,
and nothing arrives.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

BLOCK_BYTES = 65_536


class Proxy:
    """Forwards connections from `address` to `target`. While cut, bytes are held back and new connections wait."""

    def __init__(self, target: str, *, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self._target = target
        self._port = port
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def cut(self) -> None:
        """Let nothing through."""
        self._open.clear()

    def mend(self) -> None:
        """Let everything through again, with what was held back."""
        self._open.set()

    def turn_to(self, target: str) -> None:
        """Lead everybody to another target: what is open is closed, and who dials again reaches that one."""
        self._target = target
        for task in self._tasks:
            task.cancel()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            await self._open.wait()
            host, _, port = self._target.rpartition(":")
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._forward(reader, far_writer))
                    group.create_task(self._forward(far_reader, writer))
            finally:
                far_writer.transport.abort()
        except* (OSError, asyncio.CancelledError):
            # Nobody waits for this task; the connection's end is all there is to it.
            pass
        finally:
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(BLOCK_BYTES):
            await self._open.wait()
            writer.write(block)
            await writer.drain()
        writer.write_eof()
