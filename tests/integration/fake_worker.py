"""A worker whose every answer the test writes, and a router in this process that talks to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from services.router.config import RouterConfig
from services.router.router import Router
from sluice.control.directive import ActiveDirective
from sluice.control.roster import Roster, RosterEntry
from sluice.domain.enums import MemberKind, Task, Tier
from sluice.domain.variant import Variant, to_proto, variant_id
from sluice.runtime.config import TelemetryConfig
from sluice.runtime.tracing import Tracing
from sluice.v1 import worker_service_pb2 as worker_pb2
from sluice.v1 import worker_service_pb2_grpc as worker_grpc
from tests.unit.loopback import loopback

Answerer = Callable[["FakeWorker", worker_pb2.Batch, Any], Awaitable[None]]


def card(tier: Tier = Tier.LIGHT) -> Variant:
    """A variant of model `echo`."""
    return Variant(id=variant_id("echo", tier, "fp32"), model="echo", tier=tier, task=Task.TEXT_CLASSIFICATION)


class FakeWorker(worker_grpc.WorkerServiceServicer):
    """Grants credits and lets `answer` do what it likes with each batch."""

    def __init__(self, answer: Answerer, *, credits_: int = 2, tier: Tier = Tier.LIGHT) -> None:
        self.answer = answer
        self.credits = credits_
        self.variant = card(tier)
        self.batches: list[worker_pb2.Batch] = []
        self.cancelled: list[int] = []
        self.cancels = 0
        self.streams = 0
        self.release = asyncio.Event()
        self._writing = asyncio.Lock()

    async def write(self, context: Any, response: worker_pb2.ExecuteResponse) -> None:
        """Write `response` when nothing else is being written."""
        async with self._writing:
            await context.write(response)

    async def Execute(self, request_iterator: AsyncIterator[worker_pb2.ExecuteRequest], context: Any) -> None:
        self.streams += 1
        await context.write(
            worker_pb2.ExecuteResponse(
                welcome=worker_pb2.Welcome(worker="fake", variants=[to_proto(self.variant)]),
                credit=worker_pb2.Credit(batches=self.credits, max_items=128),
            )
        )
        async with asyncio.TaskGroup() as group:
            async for request in request_iterator:
                if request.HasField("batch"):
                    self.batches.append(request.batch)
                    group.create_task(self.answer(self, request.batch, context))
                else:
                    self.cancels += 1
                    self.cancelled.extend(request.cancel.ids)


def answered(batch: worker_pb2.Batch) -> worker_pb2.ExecuteResponse:
    """A right answer to `batch`, with a new credit."""
    result = worker_pb2.BatchResult(batch_id=batch.id)
    for item in batch.items:
        result.results.add(id=item.id).classification.label = item.text
    return worker_pb2.ExecuteResponse(result=result, credit=worker_pb2.Credit(batches=1, max_items=128))


async def answer_well(worker: FakeWorker, batch: worker_pb2.Batch, context: Any) -> None:
    """Do as the contract says."""
    await worker.write(context, answered(batch))


async def hold(worker: FakeWorker, batch: worker_pb2.Batch, context: Any) -> None:
    """Answer when the test says so."""
    await worker.release.wait()
    await worker.write(context, answered(batch))


def serving(
    worker: worker_grpc.WorkerServiceServicer, *, host: str = "127.0.0.1", port: int = 0
) -> AbstractAsyncContextManager[str]:
    """The worker's address; without `port` one that is free."""
    return loopback(worker_grpc.add_WorkerServiceServicer_to_server, worker, host=host, port=port)


def roster_of(*addresses: str, kind: MemberKind = MemberKind.CPU_WORKER) -> Roster:
    """A fleet that has workers at `addresses`."""
    return Roster(members=tuple(RosterEntry(id=one, kind=kind, address=one) for one in addresses))


@asynccontextmanager
async def router_to(
    *addresses: str, directives: ActiveDirective | None = None, **settings: Any
) -> AsyncIterator[Router]:
    """A router whose workers are at `addresses`, and are connected. It obeys `directives`, if they are given."""
    tracing = Tracing(service="test", config=TelemetryConfig())
    router = Router(RouterConfig(**settings), tracing=tracing, directives=directives or ActiveDirective())
    router.pool.set_static(addresses)
    watch = asyncio.create_task(router.run())
    try:
        while sum(link.up for link in router.pool.links()) < len(addresses):
            router.changed.clear()
            await asyncio.wait_for(router.changed.wait(), 10)
        yield router
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await router.pool.close()
        tracing.close()
