"""A program's gRPC server: health, reflection, and an orderly life from start to SIGTERM.

Liveness ("liveness") says that the process answers; readiness ("", "readiness" and each service's name) says that
it takes new work. They part when the program drains, of which `sluice.transport.shutdown` has the order.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import _async as reflection_aio  # what reflection.aio names
from grpc_reflection.v1alpha import reflection, reflection_pb2

from sluice.runtime.config import ConfigError
from sluice.transport import ended_calls, sockets
from sluice.transport.bind_check import bind_error
from sluice.transport.health import LIVENESS, Health
from sluice.transport.message_handlers import MessageHandlers
from sluice.transport.settings import Transport, server_arguments
from sluice.transport.shutdown import drain, until_signalled

__all__ = ["LIVENESS", "READINESS", "Server", "drain", "until_signalled"]

READINESS = "readiness"
# Such a request names a file or a symbol, and comes back with its answer.
MAX_REFLECTION_BYTES = 4_096

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
        self._health = Health()
        self._names = ("", READINESS, *services)
        self.grpc_server.add_generic_rpc_handlers((self._health.handler(),))
        names = (*services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        self.grpc_server.add_generic_rpc_handlers((_reflection(names),))
        self.port = self.grpc_server.add_insecure_port(listen)

    async def start(self) -> None:
        """Open the port: alive, not yet ready."""
        self._health.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        await self.set_ready(ready=False)
        await self.grpc_server.start()

    async def set_ready(self, *, ready: bool) -> None:
        """Say whether new work is welcome."""
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._names:
            self._health.set(name, status)

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


def _reflection(names: Sequence[str]) -> grpc.GenericRpcHandler[Any, Any]:
    servicer = reflection_aio.ReflectionServicer(names)
    handlers = MessageHandlers(reflection.SERVICE_NAME, max_bytes=MAX_REFLECTION_BYTES)
    answer = handlers.stream_stream(reflection_pb2.ServerReflectionRequest, servicer.ServerReflectionInfo)
    return handlers.handler({"ServerReflectionInfo": answer})
