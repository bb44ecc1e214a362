"""The governor's composition root."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from services.governor.config import GovernorConfig
from services.governor.governor import Governor
from services.governor.servicer import SERVICE, GovernorServicer
from sluice.server import Server, drain, until_signalled
from sluice.telemetry import Tracing
from sluice.v1 import governor_service_pb2_grpc as governor_grpc

logger = logging.getLogger(__name__)


async def run(config: GovernorConfig, tracing: Tracing) -> None:
    """Serve until SIGTERM, then end the members' streams. Raises ConfigError if the address cannot be bound."""
    del tracing
    server = Server(listen=config.listen, services=(SERVICE,))
    # Nanoseconds since 1970: a governor that starts later has the greater epoch, without anything kept on disk.
    governor = Governor(config, epoch=time.time_ns())
    governor_grpc.add_GovernorServiceServicer_to_server(GovernorServicer(governor), server.grpc_server)
    await server.start()
    ticking = asyncio.create_task(governor.run())
    await server.set_ready(ready=True)
    logger.info("ready", extra={"port": server.port, "epoch": governor.controller.current.epoch})
    await until_signalled()

    async def finish() -> None:
        governor.close()

    await drain(server, finish, grace_s=config.drain_timeout_s)
    ticking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ticking
