"""A stream's server side as gRPC's core makes it: one write at a time, and no status while a write is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Generic, NoReturn, TypeVar

import grpc
from grpc.aio import EOF  # type: ignore[attr-defined]

from tests.unit.polling import LIMIT_S

Request = TypeVar("Request")


class Aborted(Exception):
    """The stream was ended with a status."""


class SlowPeer(Generic[Request]):
    """The other end of a stream. It sends what is `put`, and takes what it is sent while `reads` is set."""

    def __init__(self, *requests: Request) -> None:
        self.received: list[Any] = []
        self.reads, self.is_written_to = asyncio.Event(), asyncio.Event()
        self.reads.set()
        self.code: grpc.StatusCode | None = None
        self._requests: asyncio.Queue[Request | None] = asyncio.Queue()
        self._writing: asyncio.Future[None] | None = None
        for request in requests:
            self.put(request)

    def put(self, request: Request | None) -> None:
        """Send `request`; None half-closes."""
        self._requests.put_nowait(request)

    async def requests(self) -> AsyncIterator[Request]:
        """What the server reads."""
        while (request := await self._requests.get()) is not None:
            yield request

    async def write(self, response: Any) -> None:
        """What the server calls. A caller that is cancelled does not take back what core has been given."""
        self._must_be_idle()
        self._writing = asyncio.ensure_future(self._deliver(response))
        await asyncio.shield(self._writing)

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """What the server reads before the first message."""
        return ()

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing: Any = ()) -> NoReturn:
        """What the server calls to end the stream."""
        self._must_be_idle()
        self.code = code
        raise Aborted(details)

    async def _deliver(self, response: Any) -> None:
        self.is_written_to.set()
        await self.reads.wait()
        self.received.append(response)

    def _must_be_idle(self) -> None:
        if self._writing is not None and not self._writing.done():
            # As ExecuteBatchError says it. What core refuses is lost: the peer would wait for ever.
            raise RuntimeError("GRPC_CALL_ERROR_TOO_MANY_OPERATIONS")


async def stop(*streams: asyncio.Task[None]) -> None:
    """End streams that the test no longer needs."""
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*streams, return_exceptions=True)


async def end_of(call: Any) -> grpc.StatusCode:
    """The status that a client's stream ends with, which comes behind all that the server still has to say."""
    with suppress(grpc.aio.AioRpcError):
        while await asyncio.wait_for(call.read(), LIMIT_S) is not EOF:
            pass
    code: grpc.StatusCode = await call.code()
    return code
