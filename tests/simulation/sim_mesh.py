"""The real router in virtual time, before simulated workers whose batch times follow a law and its seeded noise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from services.router.config import RouterConfig
from services.router.queueing.batch import InFlightBatch
from services.router.router import Router
from services.router.workers.client import WorkerClient
from services.router.workers.listener import WorkerListener
from services.router.workers.pool import _Endpoint as Endpoint
from sluice.control.directive import ActiveDirective
from sluice.domain.enums import Task, Tier
from sluice.domain.status import duration
from sluice.domain.variant import BatchTime, Variant, to_proto, variant_id
from sluice.runtime.config import TelemetryConfig
from sluice.runtime.tracing import Tracing
from sluice.v1 import worker_service_pb2 as worker_pb2

MODEL = "m"
CREDITS = 2
MAX_ITEMS = 128
NOISE = 0.08
WAY_S = 0.0005


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """A variant and how long its batches take: a constant, and so much for each token."""

    tier: Tier
    fixed_s: float
    token_s: float
    quality: tuple[float, ...] = ()
    device: str = "cpu"
    profiled: bool = True

    def time_s(self, tokens: int) -> float:
        """Seconds of the device, without noise."""
        return self.fixed_s + self.token_s * tokens

    @property
    def variant(self) -> Variant:
        """Its card."""
        points = [
            BatchTime(items=items, tokens=tokens, time_s=self.time_s(items * tokens), deviation_s=0.05 * self.fixed_s)
            for items in (1, 4, 16, 64)
            for tokens in (16, 64, 256)
        ]
        return Variant(
            id=variant_id(MODEL, self.tier, "fp32"),
            model=MODEL,
            tier=self.tier,
            task=Task.TEXT_CLASSIFICATION,
            device=self.device,
            quality_by_complexity=self.quality,
            profile=tuple(points) if self.profiled else (),
        )


class SimWorker(WorkerClient):
    """A link whose other end is this object. `slowness` multiplies its times; a `frozen` one answers nothing."""

    def __init__(self, name: str, laws: Iterable[Law], owner: WorkerListener, *, clock: Any, seed: int) -> None:
        super().__init__(name, owner, clock=clock)
        self.slowness = 1.0
        self.busy_s = 0.0
        self.computed = 0
        self._laws = {law.variant.id: law for law in laws}
        self._dice = Random(f"{seed}/{name}")
        self._free_at = 0.0
        self._held: list[tuple[InFlightBatch, float]] = []
        self._is_frozen = False

    def connect(self) -> None:
        """Its first message."""
        welcome = worker_pb2.Welcome(
            worker=self.address, variants=[to_proto(one.variant) for one in self._laws.values()]
        )
        credit = worker_pb2.Credit(batches=CREDITS, max_items=MAX_ITEMS)
        self._accept(worker_pb2.ExecuteResponse(welcome=welcome, credit=credit))

    def die(self) -> None:
        """Its connection breaks."""
        self._held.clear()
        self._go_down("it died")

    def freeze(self) -> None:
        """As SIGSTOP."""
        self._is_frozen = True

    def thaw(self) -> None:
        """As SIGCONT: what it held is done late, the first by as much as it was stopped."""
        self._is_frozen = False
        held, self._held = self._held, []
        loop = asyncio.get_running_loop()
        self._free_at = loop.time()
        for place, (batch, takes_s) in enumerate(held):
            self._free_at += takes_s
            stopped_s = 0.0 if place else loop.time() - batch.sent_at
            loop.call_at(self._free_at + WAY_S, self._answer, batch, takes_s + stopped_s)

    def send(self, batch: InFlightBatch, traceparent: str) -> None:
        """Compute `batch` when those before it are done."""
        del traceparent
        self.credits -= 1
        self.open[batch.id] = batch
        loop = asyncio.get_running_loop()
        noise = self._dice.lognormvariate(0.0, NOISE)
        takes_s = self._laws[batch.variant_id].time_s(batch.tokens) * noise * self.slowness
        begins_at = max(loop.time() + WAY_S, self._free_at)
        self._free_at = begins_at + takes_s
        self.busy_s += takes_s
        self.computed += len(batch.tickets)
        loop.call_at(self._free_at + WAY_S, self._answer, batch, takes_s)

    def _answer(self, batch: InFlightBatch, takes_s: float) -> None:
        if self._is_frozen:
            self._held.append((batch, takes_s))
            return
        if batch.id not in self.open:
            return
        result = worker_pb2.BatchResult(batch_id=batch.id, compute=duration(takes_s))
        for number in batch.tickets:
            result.results.add(id=number).classification.label = "label"
        credit = worker_pb2.Credit(batches=1, max_items=MAX_ITEMS)
        self._accept(worker_pb2.ExecuteResponse(result=result, credit=credit))


class SimMesh:
    """A router and its workers."""

    def __init__(self, router: Router, directives: ActiveDirective) -> None:
        self.router = router
        self.directives = directives
        self.workers: dict[str, SimWorker] = {}

    def add(self, name: str, *laws: Law, seed: int = 0) -> SimWorker:
        """A worker that serves `laws`, connected."""
        clock = asyncio.get_running_loop().time
        worker = self.workers[name] = SimWorker(name, laws, self.router, clock=clock, seed=seed)
        self.connect(name, worker)
        return worker

    def connect(self, name: str, worker: Any) -> None:
        """Let the router know `worker` as if it had dialled it."""
        dialling = asyncio.get_running_loop().create_task(asyncio.sleep(0))
        self.router.pool._endpoints[name] = Endpoint(link=worker, task=dialling)
        worker.connect()


@asynccontextmanager
async def sim_mesh(**settings: Any) -> AsyncIterator[SimMesh]:
    """A mesh without workers, while the block runs."""
    tracing = Tracing(service="test", config=TelemetryConfig())
    directives = ActiveDirective()
    clock = asyncio.get_running_loop().time
    router = Router(RouterConfig(**settings), tracing=tracing, directives=directives, clock=clock)
    watch = asyncio.create_task(router.run())
    try:
        yield SimMesh(router, directives)
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        tracing.close()
