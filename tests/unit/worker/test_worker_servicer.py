"""A worker's streams against routers as slow as they can be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from sluice.runtime.config import TelemetryConfig
from sluice.runtime.tracing import Tracing
from sluice.v1 import worker_service_pb2 as worker_pb2
from sluice.worker.server.servicer import WorkerServicer
from sluice.worker.server.tracing import WorkerSpans
from tests.unit.polling import until
from tests.unit.streams import Aborted, SlowPeer, stop
from tests.unit.worker.bench import HELD, Bench, bench

Router = SlowPeer[worker_pb2.ExecuteRequest]


@asynccontextmanager
async def servicing() -> AsyncIterator[tuple[WorkerServicer, Bench]]:
    """A worker that grants one credit, for one item, and whose device is held."""
    tracing = Tracing(service="test", config=TelemetryConfig())
    async with bench() as made:
        made.backend.go_on.clear()
        spans = WorkerSpans(tracing, worker="w1")
        yield (
            WorkerServicer(worker="w1", catalog=made.catalog, device=made.device, spans=spans, credits_=1, max_items=1),
            made,
        )
    tracing.close()


def executes(servicer: WorkerServicer, router: Router) -> asyncio.Task[None]:
    async def run() -> None:
        try:
            await servicer.Execute(router.requests(), router)  # type: ignore[arg-type]
        except Aborted:
            return

    return asyncio.create_task(run())


def batch(number: int, *texts: str) -> worker_pb2.ExecuteRequest:
    message = worker_pb2.Batch(id=number, variant=HELD)
    for at, text in enumerate(texts, 1):
        message.items.add(id=at, text=text)
    return worker_pb2.ExecuteRequest(batch=message)


@pytest.mark.parametrize("reads_again", [True, False])
async def test_a_router_that_breaks_its_word_is_cut_off_although_it_was_being_written_to(*, reads_again: bool) -> None:
    router: Router = SlowPeer(batch(1, "a"))
    async with servicing() as (servicer, _):
        router.reads.clear()
        stream = executes(servicer, router)
        await until(lambda: servicer.open_items() == 1 and router.is_written_to.is_set())
        router.put(batch(2, "too", "many"))
        await asyncio.sleep(0.02)
        if reads_again:
            router.reads.set()
            await asyncio.wait_for(stream, 5)
            assert router.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        # Who never reads cannot be told. The batches are void all the same.
        await until(lambda: servicer.open_items() == 0)
        await stop(stream)


async def test_a_router_that_half_closes_gets_all_that_it_is_still_owed() -> None:
    router: Router = SlowPeer(batch(1, "a"))
    async with servicing() as (servicer, made):
        router.reads.clear()
        stream = executes(servicer, router)
        await until(lambda: servicer.open_items() == 1)
        router.put(None)
        made.backend.go_on.set()
        await until(lambda: servicer.open_items() == 0)
        await asyncio.sleep(0.02)
        assert not stream.done()
        router.reads.set()
        await asyncio.wait_for(stream, 5)
    assert [one.result.batch_id for one in router.received if one.HasField("result")] == [1]
    assert router.code is None


async def test_draining_waits_for_a_slow_router_to_be_told() -> None:
    router: Router = SlowPeer(batch(1, "a"))
    async with servicing() as (servicer, made):
        router.reads.clear()
        stream = executes(servicer, router)
        await until(lambda: servicer.open_items() == 1)
        draining = asyncio.create_task(servicer.drain())
        made.backend.go_on.set()
        await until(lambda: servicer.open_items() == 0)
        await asyncio.sleep(0.02)
        assert not draining.done()
        router.reads.set()
        await asyncio.wait_for(draining, 5)
        assert [one.result.batch_id for one in router.received if one.HasField("result")] == [1]
        assert any(one.welcome.draining for one in router.received)
        await stop(stream)
