"""A program's gRPC server: health, reflection, and an orderly life from start to SIGTERM.

Liveness ("liveness") says that the process answers; readiness ("", "readiness" and each service's name) says that
it takes new work. They part when the program drains, of which `sluice.runtime.shutdown` has the order.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import _async as health_aio  # what health.aio names, where a type checker can see it
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sluice.config import ConfigError
from sluice.port import bind_error
from sluice.runtime import ended_calls, sockets
from sluice.runtime.shutdown import drain, until_signalled
from sluice.runtime.transport import Transport, server_arguments

__all__ = ["LIVENESS", "READINESS", "Server", "drain", "until_signalled"]

LIVENESS = "liveness"
READINESS = "readiness"

logger = logging.getLogger(__name__)

OPTIONS: tuple[tuple[str, int], ...] = (
    # Two programs on one port would share its calls without anybody noticing.
    ("grpc.so_reuseport", 0),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
    # Calls wait in the router's queue, which knows their deadlines and priorities; the transport's own queue would
    # cancel them beyond a thousand without a reason.
    ("grpc.server.max_pending_requests", 1_000_000),
    ("grpc.server.max_pending_requests_hard_limit", 1_000_000),
)


class Server:
    """One listening server. Register servicers on `grpc_server`, then `run` it."""

    def __init__(
        self,
        *,
        listen: str,
        services: Sequence[str],
        options: Sequence[tuple[str, int]] = (),
        transport: Transport | None = None,
    ) -> None:
        unusable = bind_error(listen)
        if unusable is not None:
            raise ConfigError(f"listen: cannot bind {listen}: {unusable.strerror or unusable}") from unusable
        ended_calls.quieten()
        self.transport = transport or Transport()
        self.grpc_server = grpc.aio.server(options=(*OPTIONS, *server_arguments(self.transport), *options))
        self._health = _Health()
        self._names = ("", READINESS, *services)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc_server)
        names = (*services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self.grpc_server)
        self.port = self.grpc_server.add_insecure_port(listen)

    async def start(self) -> None:
        """Open the port: alive, not yet ready."""
        await self._health.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        await self.set_ready(ready=False)
        await self.grpc_server.start()

    async def set_ready(self, *, ready: bool) -> None:
        """Say whether new work is welcome."""
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._names:
            await self._health.set(name, status)

    def callers(self) -> int:
        """How many connections there are."""
        return len(sockets.connections(self.port))

    def busy_callers(self, quiet_s: float) -> Sequence[sockets.Peer]:
        """Who watches no health and has sent something in the last `quiet_s`."""
        known = sockets.connections(self.port)
        return [peer for peer, silent_s in known.items() if silent_s < quiet_s and peer not in self._health.watchers]

    def close_listener(self) -> bool:
        """Refuse new connections, and keep those that are open; whether the system lets us."""
        return bool(sockets.close_listeners(self.port))

    async def stop(self, grace_s: float) -> None:
        """Close the port; calls still open after `grace_s` are cut. Whoever is connected finds the connection ended."""
        # gRPC writes a line to standard error when its listener is shut. A program that could not start has its own.
        if grace_s > 0:
            self.close_listener()
        sockets.hang_up(self.port)
        await self.grpc_server.stop(grace_s)


class _Health(health_aio.HealthServicer):  # type: ignore[misc]
    """Knows who watches, and so learns of a stop."""

    def __init__(self) -> None:
        super().__init__()
        self.watchers: Counter[sockets.Peer] = Counter()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:
        peer = sockets.peer_of(context.peer())
        if peer is None or request.service == LIVENESS:
            await super().Watch(request, context)
            return
        self.watchers[peer] += 1
        try:
            await super().Watch(request, context)
        finally:
            self.watchers[peer] -= 1
            self.watchers += Counter()  # those of none are left out
