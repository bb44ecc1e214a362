"""The router's composition root: everything is made here, in the order in which it is needed, and undone in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from datetime import UTC, datetime

from services.router.config import RouterConfig
from services.router.open_inference import OpenInferenceServicer
from services.router.request_span import RequestSpans
from services.router.router import Router
from services.router.servicer import SERVICE, InferenceServicer
from sluice.directive import DirectiveState
from sluice.fleet import Fleet, Registration, Report
from sluice.membership import Membership
from sluice.server import Server, drain, until_signalled
from sluice.telemetry import Tracing
from sluice.tier import MemberKind

OIP_SERVICE = "inference.GRPCInferenceService"

logger = logging.getLogger(__name__)


async def run(config: RouterConfig, tracing: Tracing) -> None:
    """Serve until SIGTERM, then drain. Raises ConfigError if the address cannot be bound."""
    server = Server(listen=config.listen, services=(SERVICE, OIP_SERVICE))
    directives = DirectiveState()
    router = Router(config, tracing=tracing, directives=directives)
    servicer = InferenceServicer(router, RequestSpans(tracing))
    oip = OpenInferenceServicer(router, RequestSpans(tracing, service=OIP_SERVICE))
    server.grpc_server.add_generic_rpc_handlers((servicer.handler(), oip.handler()))
    await server.start()
    router.pool.set_static(config.workers)
    tasks = [asyncio.create_task(_follow_readiness(router, server))]
    if config.governor:
        tasks.append(asyncio.create_task(_membership(config, router, directives).run()))
    # What exists now lives as long as the program; the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    logger.info("listening", extra={"port": server.port})
    await until_signalled()

    async def finish() -> None:
        drained = asyncio.create_task(router.drain())
        servicer.close_streams()
        await drained

    await drain(server, finish, grace_s=config.drain_timeout_s)
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)
    await router.pool.close()


async def _follow_readiness(router: Router, server: Server) -> None:
    ready = False
    while True:
        await router.changed.wait()
        router.changed.clear()
        if router.ready != ready:
            ready = router.ready
            await server.set_ready(ready=ready)
            logger.info("ready" if ready else "not ready", extra={"models": sorted(router.models())})


def _membership(config: RouterConfig, router: Router, directives: DirectiveState) -> Membership:
    address = config.advertise or config.listen
    registration = Registration(id=config.id or f"router@{address}", kind=MemberKind.ROUTER, address=address)

    def on_fleet(fleet: Fleet) -> None:
        router.pool.set_fleet(member.address for member in fleet.members if member.kind is not MemberKind.ROUTER)

    return Membership(
        config.governor,
        registration,
        report=lambda: report(router),
        directives=directives,
        on_fleet=on_fleet,
    )


def report(router: Router) -> Report:
    """The router's reading of itself."""
    hot, cold = router.dispatcher.waiting()
    window = router.ledger.last_window()
    return Report(
        measured_at=datetime.now(UTC),
        utilization=None,
        memory=None,
        queue_delay_s=window.waited_s / window.dispatched if window.dispatched else None,
        hot_queued=hot,
        cold_queued=cold,
        inflight=router.open_requests - hot - cold,
        deadline_miss_ratio=window.expired / window.ended if window.ended else None,
        variants=(),
        draining=router.draining,
        requests_per_second=float(window.ended),
    )
