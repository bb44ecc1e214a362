"""A worker's composition root, shared by both kinds; what differs is how a checkpoint becomes a model."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sluice.control.directive import ActiveDirective
from sluice.control.identity import identify
from sluice.control.membership_client import GovernorClient
from sluice.control.standalone import StandaloneController
from sluice.domain.enums import MemberKind, Tier, held_name
from sluice.domain.errors import SluiceError
from sluice.runtime.config import ConfigError
from sluice.runtime.program import FatalError
from sluice.runtime.tracing import Tracing
from sluice.transport.server import Server, drain, until_signalled
from sluice.worker.config import ModelEntry, WorkerConfig
from sluice.worker.execution.backend import BackendLoader
from sluice.worker.execution.device_health import DeviceLossLatch, DeviceProber
from sluice.worker.execution.openai_config import EXTERNAL
from sluice.worker.executor import DeviceExecutor
from sluice.worker.models.registry import ModelRegistry
from sluice.worker.models.swap_controller import SwapController
from sluice.worker.models.swap_policy import desired_state_of
from sluice.worker.resources.accelerator import Accelerator, AcceleratorMonitor, PolledMonitor
from sluice.worker.resources.aggregate import BusyRatio, ResourceAggregator
from sluice.worker.resources.memory import CgroupMemory, HostMemory
from sluice.worker.server.reporter import HealthReporter
from sluice.worker.server.servicer import SERVICE, WorkerServicer
from sluice.worker.server.tracing import WorkerSpans

# A thread that computes lets go of the interpreter at every call of the device, and waits up to so long for it again
# while the loop is at work. Sixty such calls beside it took 39 ms with Python's own 5 ms, and 23 ms with this.
SWITCH_INTERVAL_S = 0.0005

logger = logging.getLogger(__name__)


async def serve(
    config: WorkerConfig,
    tracing: Tracing,
    *,
    kind: MemberKind,
    load: BackendLoader,
    accelerator: Callable[[], Accelerator] | None = None,
) -> None:
    """Load the configured models, serve until SIGTERM, then drain.

    `accelerator` is asked for once a variant computes on one. Raises ConfigError naming the key when the address cannot
    be bound or a configured model cannot be loaded, and FatalError, after draining, when the device was lost.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    identity = await identify(
        kind,
        listen=config.listen,
        advertise=config.advertise,
        governor=config.governor,
        id_=config.id,
        mesh=config.mesh,
    )
    worker = identity.id
    server = Server(listen=config.listen, services=(SERVICE,), transport=config.transport)
    with (
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="preparer") as preparer,
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="device") as device_thread,
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader") as loader_thread,
    ):
        catalog = ModelRegistry(
            root=Path(config.models_root),
            load=load,
            loader_thread=loader_thread,
            device_thread=device_thread,
            max_batch_size=config.max_batch_size,
            threads=config.threads,
            engine=config.engine,
            generation=config.generation,
        )
        loss = DeviceLossLatch(lambda: servicer.stop_taking())  # noqa: PLW0108  it is made behind its device
        device = DeviceExecutor(device_thread, catalog, preparer=preparer, loss=loss)
        servicer = WorkerServicer(
            worker=worker,
            boot=identity.boot,
            mesh=identity.mesh,
            catalog=catalog,
            device=device,
            spans=WorkerSpans(tracing, worker=worker),
            credits_=config.credits,
            max_items=config.max_batch_size,
            lookahead=config.generation_lookahead,
            max_message_bytes=config.transport.max_message_bytes,
        )
        directives = ActiveDirective()
        accelerator_monitor = _accelerator_monitor(catalog, accelerator)
        resources = ResourceAggregator(
            (BusyRatio(lambda: device.busy_s + catalog.writers.busy_s), HostMemory(), CgroupMemory()),
            device=accelerator_monitor,
            writes=lambda: bool(catalog.writers),
        )
        swapper = SwapController(
            catalog,
            wish=lambda: desired_state_of(directives.levels, directives.lighten_share, directives.precision),
            memory=resources.model_memory,
            ceiling=config.memory_ceiling,
            light_budget=config.distilled_budget,
        )
        server.grpc_server.add_generic_rpc_handlers((servicer.handler(),))
        await server.start()
        try:
            await _load_configured(config, catalog, swapper)
        except BaseException:
            await server.stop(0)
            await catalog.close()
            raise
        monitor = HealthReporter(
            device=device,
            catalog=catalog,
            resources=resources,
            swapper=swapper,
            inflight=servicer.open_items,
            draining=lambda: servicer.draining,
        )
        swapping = asyncio.create_task(swapper.run())
        tasks = [swapping, asyncio.create_task(DeviceProber(accelerator_monitor, device.probe).run())]
        autonomy = StandaloneController(kind, directives, measure=monitor.report, thresholds=config.thresholds)
        if config.autonomous:
            tasks.append(asyncio.create_task(autonomy.run()))
        if config.governor:
            membership = GovernorClient(
                config.governor,
                identity.registration,
                report=autonomy.report,
                directives=directives,
            )
            catalog.watch(membership.kick)
            tasks.append(asyncio.create_task(membership.run()))
        gc.collect()
        gc.freeze()
        await server.set_ready(ready=True)
        logger.info("ready", extra={"port": server.port, "variants": [one.id for one in catalog.variants()]})
        hurry = await until_signalled(or_until=loss.wait())
        swapping.cancel()
        servicer.stop_taking()
        await drain(server, servicer.drain, grace_s=config.drain_timeout_s, hurry=hurry)
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
        await catalog.close()
        accelerator_monitor.close()
        if loss.why:
            raise FatalError(f"the device is lost (its context is broken); restart the process: {loss.why}")


def _accelerator_monitor(catalog: ModelRegistry, accelerator: Callable[[], Accelerator] | None) -> PolledMonitor:
    def source() -> AcceleratorMonitor | None:
        # Asking for an accelerator imports torch, which a worker without models of its own need not do.
        if accelerator is None or catalog.devices <= {"cpu", EXTERNAL}:
            return None
        return AcceleratorMonitor(accelerator())

    return PolledMonitor(source)


async def _load_configured(config: WorkerConfig, catalog: ModelRegistry, swapper: SwapController) -> None:
    for number, entry in enumerate(config.models):
        try:
            await _load_entry(entry, catalog, swapper)
        except SluiceError as error:
            key = f"models.{number}.{error.field or 'checkpoint'}"
            raise ConfigError(f"{key}: {error.message}") from error


async def _load_entry(entry: ModelEntry, catalog: ModelRegistry, swapper: SwapController) -> None:
    model, precision = entry.model, held_name(entry.precision)
    if entry.openai is not None:
        await catalog.connect(entry.openai, model=model, tier=entry.tier, precision=precision)
        return
    if entry.tier is not Tier.FULL:
        await catalog.load(model=model, tier=entry.tier, checkpoint=entry.checkpoint, precision=precision)
        return
    full = catalog.spec(model=model, tier=entry.tier, checkpoint=entry.checkpoint, precision=precision)
    light = None
    if entry.distilled:
        try:
            light = catalog.spec(model=model, tier=Tier.LIGHT, checkpoint=entry.distilled, precision=precision)
        except SluiceError as error:
            error.field = "distilled"
            raise
    await swapper.add(full, light=light, lower=entry.lower_precision, is_fixed=bool(precision))
