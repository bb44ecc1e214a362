"""The governor's composition root."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import Path
from random import Random

from services.governor.config import GovernorConfig
from services.governor.control_loop import Governor
from services.governor.journal import TransitionStore
from services.governor.servicer import SERVICE, GovernorServicer
from sluice.control.epochs import TAKEN_AHEAD_S, latest_epoch, new_epoch
from sluice.runtime.memory_trim import keep_small, map_large_blocks
from sluice.runtime.tracing import Tracing
from sluice.transport.server import Server, drain, until_signalled

# How late readiness may be where nobody is told of a change.
READINESS_S = 0.5

logger = logging.getLogger(__name__)


async def run(config: GovernorConfig, tracing: Tracing) -> None:
    """Serve until SIGTERM, then end the members' streams. Raises ConfigError if the address cannot be bound
    or the journal cannot be used.
    """
    del tracing
    map_large_blocks()
    server = Server(listen=config.listen, services=(SERVICE,), transport=config.transport)
    # A governor that starts later has the greater epoch, without anything kept on disk. With a journal that holds even
    # if the clock was set back.
    wall_s = time.time()
    epoch = new_epoch(wall_s, Random())  # noqa: S311  no secret
    journal = None
    if config.journal:
        journal = TransitionStore(
            Path(config.journal),
            epoch_at_least=epoch,
            epoch_at_most=latest_epoch(wall_s, ahead_s=TAKEN_AHEAD_S),
            most=config.max_transitions,
        )
        epoch = journal.epoch
    governor = Governor(config, epoch=epoch, journal=journal)
    server.grpc_server.add_generic_rpc_handlers((GovernorServicer(governor).handler(),))
    await server.start()
    ticking = asyncio.create_task(governor.run())
    showing = asyncio.create_task(show_readiness(governor, server))
    trimming = asyncio.create_task(keep_small())
    logger.info("ready", extra={"port": server.port, "epoch": governor.controller.current.epoch})
    hurry = await until_signalled()

    async def finish() -> None:
        governor.close()

    # From here on the server says itself that it is not ready.
    await _end(showing)
    await drain(server, finish, grace_s=config.drain_timeout_s, hurry=hurry)
    await _end(ticking)
    await _end(trimming)
    if journal is not None:
        await asyncio.to_thread(journal.close)


async def show_readiness(governor: Governor, server: Server) -> None:
    """Until cancelled: the server is ready for as long as the governor can direct."""
    shown = False
    while True:
        seen = governor.changes
        if governor.can_direct != shown:
            shown = governor.can_direct
            await server.set_ready(ready=shown)
        await governor.change(since=seen, timeout_s=READINESS_S)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
