"""The governor's composition root."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import Path

from services.governor.config import GovernorConfig
from services.governor.governor import Governor
from services.governor.journal import Journal
from services.governor.servicer import SERVICE, GovernorServicer
from sluice.server import Server, drain, until_signalled
from sluice.telemetry import Tracing

logger = logging.getLogger(__name__)


async def run(config: GovernorConfig, tracing: Tracing) -> None:
    """Serve until SIGTERM, then end the members' streams. Raises ConfigError if the address cannot be bound
    or the journal cannot be used.
    """
    del tracing
    server = Server(listen=config.listen, services=(SERVICE,))
    # Nanoseconds since 1970: a governor that starts later has the greater epoch, without anything kept on disk. With a
    # journal that holds even if the clock was set back.
    epoch = time.time_ns()
    journal = None
    if config.journal:
        journal = Journal(Path(config.journal), epoch_at_least=epoch, most=config.max_transitions)
        epoch = journal.epoch
    governor = Governor(config, epoch=epoch, journal=journal)
    server.grpc_server.add_generic_rpc_handlers((GovernorServicer(governor).handler(),))
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
    if journal is not None:
        await asyncio.to_thread(journal.close)
