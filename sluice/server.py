"""A program's gRPC server: health, reflection, and an orderly life from start to SIGTERM.

Liveness ("liveness") says that the process answers; readiness ("", "readiness" and each service's name) says that
it takes new work. They part when the program drains: readiness goes first, work in flight ends, then the port closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import grpc
from grpc_health.v1 import _async as health_aio  # what health.aio names, where a type checker can see it
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sluice.config import ConfigError
from sluice.port import bind_error
from sluice.runtime import ended_calls

LIVENESS = "liveness"
READINESS = "readiness"

logger = logging.getLogger(__name__)

OPTIONS: tuple[tuple[str, int], ...] = (
    # Two programs on one port would share its calls without anybody noticing.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
    # Calls wait in the router's queue, which knows their deadlines and priorities; the transport's own queue would
    # cancel them beyond a thousand without a reason.
    ("grpc.server.max_pending_requests", 1_000_000),
    ("grpc.server.max_pending_requests_hard_limit", 1_000_000),
    # Our own members ping every 10 s; the default would end their connections as abuse.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class Server:
    """One listening server. Register servicers on `grpc_server`, then `run` it."""

    def __init__(self, *, listen: str, services: Sequence[str], options: Sequence[tuple[str, int]] = ()) -> None:
        unusable = bind_error(listen)
        if unusable is not None:
            raise ConfigError(f"listen: cannot bind {listen}: {unusable.strerror or unusable}") from unusable
        ended_calls.quieten()
        self.grpc_server = grpc.aio.server(options=(*OPTIONS, *options))
        self._health = health_aio.HealthServicer()
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

    async def stop(self, grace_s: float) -> None:
        """Close the port; calls still open after `grace_s` are cut."""
        await self.grpc_server.stop(grace_s)


async def until_signalled(*, or_until: Coroutine[Any, Any, None] | None = None) -> None:
    """Return on the first SIGTERM or SIGINT, or when `or_until` has ended.

    SIGINT stays ignored in a program that was started so, as a shell starts what a script runs with `&`.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGINT, stop.set)
    waiting = [asyncio.ensure_future(one) for one in (stop.wait(), or_until) if one is not None]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for one in waiting:
        one.cancel()


async def drain(server: Server, finish: Callable[[], Awaitable[None]], *, grace_s: float) -> None:
    """Stop in order: not ready, `finish` what is in flight (at most `grace_s`), close."""
    logger.info("draining")
    await server.set_ready(ready=False)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(finish(), grace_s)
    await server.stop(1.0)
    logger.info("stopped")
