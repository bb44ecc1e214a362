"""A worker's composition root, shared by both kinds; what differs is how a checkpoint becomes a backend."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sluice.config import ConfigError
from sluice.directive import DirectiveState
from sluice.errors import SluiceError
from sluice.fleet import Registration
from sluice.membership import Membership
from sluice.server import Server, drain, until_signalled
from sluice.telemetry import Tracing
from sluice.tier import MemberKind
from sluice.v1 import worker_service_pb2_grpc as worker_grpc
from sluice.worker.backend import BackendLoader
from sluice.worker.catalog import Catalog
from sluice.worker.config import WorkerConfig
from sluice.worker.device import Device
from sluice.worker.monitor import Monitor
from sluice.worker.servicer import SERVICE, WorkerServicer
from sluice.worker.spans import BatchSpans

logger = logging.getLogger(__name__)


async def serve(config: WorkerConfig, tracing: Tracing, *, kind: MemberKind, load: BackendLoader) -> None:
    """Load the configured models, serve until SIGTERM, then drain.

    Raises ConfigError naming the key when the address cannot be bound or a configured model cannot be loaded.
    """
    address = config.advertise or config.listen
    worker = config.id or f"{kind.name.lower()}@{address}"
    server = Server(listen=config.listen, services=(SERVICE,))
    with (
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="preparer") as preparer,
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="device") as device_thread,
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader") as loader_thread,
    ):
        catalog = Catalog(
            root=Path(config.models_root),
            load=load,
            loader_thread=loader_thread,
            device_thread=device_thread,
            max_batch_size=config.max_batch_size,
            threads=config.threads,
            engine=config.engine,
        )
        device = Device(device_thread, catalog, preparer=preparer)
        servicer = WorkerServicer(
            worker=worker,
            catalog=catalog,
            device=device,
            spans=BatchSpans(tracing, worker=worker),
            credits_=config.credits,
            max_items=config.max_batch_size,
        )
        worker_grpc.add_WorkerServiceServicer_to_server(servicer, server.grpc_server)
        await server.start()
        try:
            await _load_configured(config, catalog)
        except BaseException:
            await server.stop(0)
            raise
        monitor = Monitor(
            device=device, catalog=catalog, inflight=servicer.open_items, draining=lambda: servicer.draining
        )
        tasks = []
        if config.governor:
            membership = Membership(
                config.governor,
                Registration(id=worker, kind=kind, address=address),
                report=monitor.report,
                directives=DirectiveState(),
            )
            catalog.watch(membership.kick)
            tasks.append(asyncio.create_task(membership.run()))
        gc.collect()
        gc.freeze()
        await server.set_ready(ready=True)
        logger.info("ready", extra={"port": server.port, "variants": [one.id for one in catalog.variants()]})
        await until_signalled()
        await drain(server, servicer.drain, grace_s=config.drain_timeout_s)
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


async def _load_configured(config: WorkerConfig, catalog: Catalog) -> None:
    for number, entry in enumerate(config.models):
        try:
            await catalog.load(
                model=entry.model, tier=entry.tier, checkpoint=entry.checkpoint, precision=entry.precision
            )
        except SluiceError as error:
            key = f"models.{number}.{error.field or 'checkpoint'}"
            raise ConfigError(f"{key}: {error.message}") from error
