"""The standard health service (grpc.health.v1), by which callers are steered away from a program that stops.

grpc_health's own servicer writes to each watcher while it holds the lock that a change of state needs: a watcher that
does not read (its HTTP/2 window is shut) then keeps the program from ever saying that it drains. Here a change of state
waits for nobody, and each watcher is told the newest when it reads.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2

from sluice.domain.status import abort_with
from sluice.transport import sockets
from sluice.transport.message_handlers import MessageHandlers

Context = grpc.aio.ServicerContext[Any, Any]
Response = health_pb2.HealthCheckResponse
LIVENESS = "liveness"
# A watcher's request is kept for as long as it watches.
MAX_REQUEST_BYTES = 1_024


class Health:
    """What each service's state is, and who watches. Use from one event loop only.

    `watchers` counts the open watches of readiness by connection: those callers learn of a stop.
    """

    def __init__(self) -> None:
        self.watchers: Counter[sockets.Peer] = Counter()
        self._states: dict[str, int] = {}
        self._changed = asyncio.Event()

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """What the server is given."""
        handlers = MessageHandlers(health.SERVICE_NAME, max_bytes=MAX_REQUEST_BYTES)
        methods = {
            "Check": handlers.unary_unary(health_pb2.HealthCheckRequest, self.check),
            "Watch": handlers.unary_stream(health_pb2.HealthCheckRequest, self.watch),
        }
        return handlers.handler(methods)

    def set(self, service: str, status: int) -> None:
        """From now on `service` has `status`, a ServingStatus. Waits for nobody."""
        self._states[service] = status
        # Everyone who waits on the old event wakes up; whoever waits next waits on the new one.
        self._changed.set()
        self._changed = asyncio.Event()

    async def check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        """The state now. Aborts with NOT_FOUND for a service that is not served here."""
        status = self._states.get(request.service)
        if status is None:
            await abort_with(context, grpc.StatusCode.NOT_FOUND, "there is no such service here")
        return _response(status)

    async def watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The state at once and at every change, SERVICE_UNKNOWN for a service that is not served here."""
        service = request.service
        with self._watching(service, context):
            told: int | None = None
            while True:
                changed = self._changed
                status = self._states.get(service, Response.SERVICE_UNKNOWN)
                if status != told:
                    yield _response(status)
                    told = status
                else:
                    await changed.wait()

    @contextmanager
    def _watching(self, service: str, context: Context) -> Iterator[None]:
        peer = sockets.peer_of(context.peer())
        if peer is None or service == LIVENESS:
            yield
            return
        self.watchers[peer] += 1
        try:
            yield
        finally:
            self.watchers[peer] -= 1
            self.watchers += Counter()  # those of none are left out


def _response(status: int) -> health_pb2.HealthCheckResponse:
    return Response(status=status)
