"""The router's composition root: everything is made here, in the order in which it is needed, and undone in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from datetime import UTC, datetime

from services.router.api.inference_servicer import SERVICE, InferenceServicer
from services.router.api.open_inference_servicer import OpenInferenceServicer
from services.router.config import RouterConfig
from services.router.observability.stats import WINDOW_S
from services.router.observability.tracing import RequestSpans
from services.router.requests.device_pool import DevicePool
from services.router.router import Router
from sluice.control.degradation.report import Report
from sluice.control.directive import ActiveDirective
from sluice.control.identity import identify
from sluice.control.membership_client import GovernorClient
from sluice.control.standalone import StandaloneController
from sluice.domain.enums import MemberKind
from sluice.runtime.memory_trim import keep_small, map_large_blocks
from sluice.runtime.tracing import Tracing
from sluice.transport.server import Server, drain, until_signalled

OIP_SERVICE = "inference.GRPCInferenceService"

# How long the port stays closed at the start while workers are dialled.
DIAL_S = 1.0
DIAL_POLL_S = 0.01

logger = logging.getLogger(__name__)


async def run(config: RouterConfig, tracing: Tracing) -> None:
    """Serve until SIGTERM, then drain. Raises ConfigError if the address cannot be bound."""
    map_large_blocks()
    server = Server(listen=config.listen, services=(SERVICE, OIP_SERVICE), transport=config.transport)
    directives = ActiveDirective()
    router = Router(config, tracing=tracing, directives=directives)
    servicer = InferenceServicer(router, RequestSpans(tracing))
    oip = OpenInferenceServicer(router, RequestSpans(tracing, service=OIP_SERVICE))
    server.grpc_server.add_generic_rpc_handlers((servicer.handler(), oip.handler()))
    router.pool.set_static(config.workers)
    await _until_tried(router)
    await server.start()
    tasks = [
        asyncio.create_task(_follow_readiness(router, server)),
        asyncio.create_task(router.run()),
        asyncio.create_task(keep_small()),
    ]
    autonomy = StandaloneController(
        MemberKind.ROUTER, directives, measure=lambda: report(router), thresholds=config.thresholds
    )
    if config.autonomous:
        tasks.append(asyncio.create_task(autonomy.run()))
    if config.governor:
        membership = await _membership(config, router, directives, autonomy)
        tasks.append(asyncio.create_task(membership.run()))
    # What exists now lives as long as the program; the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    logger.info("listening", extra={"port": server.port})
    hurry = await until_signalled()

    async def finish() -> None:
        drained = asyncio.create_task(router.drain())
        servicer.close_streams()
        await drained
        await servicer.all_streams_ended()

    # From here on the server says itself that it is not ready.
    router.leaving = True
    tasks[0].cancel()
    await drain(server, finish, grace_s=config.drain_timeout_s, steers=True, cut=router.cut, hurry=hurry)
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)
    await router.pool.close()


async def _until_tried(router: Router) -> None:
    """Return when the workers that are listed have been dialled, or soon.

    Callers that check no health come as soon as the port is open, and would be refused for want of a worker.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DIAL_S):
            while not router.pool.all_tried:  # noqa: ASYNC110  a loop of some milliseconds at the start
                await asyncio.sleep(DIAL_POLL_S)


async def _follow_readiness(router: Router, server: Server) -> None:
    ready = False
    while True:
        await router.changed.wait()
        router.changed.clear()
        if router.ready != ready:
            ready = router.ready
            await server.set_ready(ready=ready)
            logger.info("ready" if ready else "not ready", extra={"models": sorted(router.models())})


async def _membership(
    config: RouterConfig, router: Router, directives: ActiveDirective, autonomy: StandaloneController
) -> GovernorClient:
    identity = await identify(
        MemberKind.ROUTER,
        listen=config.listen,
        advertise=config.advertise,
        governor=config.governor,
        id_=config.id,
        mesh=config.mesh,
    )
    return GovernorClient(
        config.governor,
        identity.registration,
        report=autonomy.report,
        directives=directives,
        on_roster=router.pool.set_roster,
    )


def report(router: Router) -> Report:
    """The router's reading of itself."""
    hot, cold = router.dispatcher.waiting()
    window = router.ledger.last_window()
    let_in = window.ended - window.refused
    signals = router.admission.signals
    accelerators = sum(link.is_serving and link.pool is DevicePool.ACCELERATOR for link in router.pool.links())
    return Report(
        measured_at=datetime.now(UTC),
        utilization=None,
        memory=None,
        queue_delay_s=signals.queue_delay_s,
        hot_queued=hot,
        cold_queued=cold,
        inflight=router.open_requests - hot - cold,
        deadline_miss_ratio=window.expired / let_in if let_in else None,
        variants=(),
        draining=router.leaving,
        requests_per_second=float(window.ended),
        standing_queue_delay_s=signals.standing_queue_delay_s,
        median_timeout_s=signals.median_timeout_s,
        refused_ratio=signals.refused_ratio,
        offloaded_utilization=window.diverted_s / WINDOW_S / accelerators if accelerators else None,
    )
