"""A governor that says again what was said long ago: stale directives, which no member may obey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import grpc

from sluice.v1 import degradation_pb2
from sluice.v1 import governor_service_pb2 as governor_pb2
from sluice.v1 import governor_service_pb2_grpc as governor_grpc

EVERY_S = 0.1


class Impostor(governor_grpc.GovernorServiceServicer):
    """Tells whoever joins to go back to full service, by directives of the first epoch there ever was.

    `told` counts the directives that were sent, and `obeyed` the acknowledgements of one of them.
    """

    def __init__(self, *, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.told = 0
        self.obeyed = 0
        self._server = grpc.aio.server()

    async def Join(
        self, requests: AsyncIterator[governor_pb2.JoinRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[governor_pb2.JoinResponse]:
        """Stale directives, one revision after the other."""
        del context
        reading = asyncio.create_task(self._read(requests))
        try:
            for revision in range(1, 1_000):
                directive = degradation_pb2.Directive(epoch=1, revision=revision, reason="replayed")
                self.told += 1
                yield governor_pb2.JoinResponse(directive=directive)
                await asyncio.sleep(EVERY_S)
        finally:
            reading.cancel()

    async def _read(self, requests: AsyncIterator[governor_pb2.JoinRequest]) -> None:
        async for request in requests:
            self.obeyed += request.HasField("ack") and request.ack.epoch == 1

    async def __aenter__(self) -> Self:
        governor_grpc.add_GovernorServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.address)
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._server.stop(None)
