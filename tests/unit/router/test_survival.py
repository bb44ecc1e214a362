"""Events that meet at an awkward moment: they cost at most the request they belong to, and never a worker's link."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.router.config import RouterConfig
from services.router.requests.request import InferResult, Outcome, Request
from services.router.router import Router
from sluice.control.directive import ActiveDirective
from sluice.domain.enums import QueryClass
from sluice.domain.variant import Variant, VariantState, to_proto
from sluice.runtime.config import TelemetryConfig
from sluice.runtime.tracing import Tracing
from sluice.v1 import worker_service_pb2 as worker_pb2
from tests.integration.fake_worker import FakeWorker, answer_well, answered, hold, router_to, serving
from tests.unit.polling import until


def request(text: str = "text", *, timeout_s: float = 10.0, **more: Any) -> Request:
    deadline = time.monotonic() + timeout_s
    return Request(model="echo", text=text, deadline=deadline, query_class=QueryClass.SIMPLE, **more)


async def still_serves(router: Router) -> None:
    answer = await asyncio.wait_for(router.infer(request("after")), 5)
    assert answer.result.classification.label == "after"
    assert router.open_requests == 0


async def test_a_caller_who_leaves_in_the_moment_of_the_answer_costs_nobody_else() -> None:
    worker = FakeWorker(hold)
    leaving: list[asyncio.Task[InferResult]] = []
    answers: list[Outcome] = []

    def cancel_second(outcome: Outcome) -> None:
        leaving[0].cancel()

    async with serving(worker) as address, router_to(address) as router:
        # As a hedging caller does: the first answer makes the second request superfluous. Its task is cancelled, and
        # learns of it only in the loop's next turn, when its own answer, of the same batch, has been dealt with.
        leaving.append(asyncio.create_task(router.infer(request("second", timeout_s=6))))
        await asyncio.sleep(0)
        router.submit(request("first", timeout_s=5), cancel_second)
        router.submit(request("third", timeout_s=7), answers.append)
        await until(lambda: worker.batches)
        assert [item.text for item in worker.batches[0].items] == ["first", "second", "third"]
        worker.release.set()
        await until(lambda: answers)
        assert isinstance(answers[0], InferResult)
        await asyncio.gather(*leaving, return_exceptions=True)
        await still_serves(router)


async def test_callers_who_leave_in_the_moment_of_the_deadline_cost_nobody_else() -> None:
    worker = FakeWorker(hold)
    leaving: list[asyncio.Task[InferResult]] = []
    ended: list[Outcome] = []

    def cancel_all(outcome: Outcome) -> None:
        ended.append(outcome)
        for task in leaving:
            task.cancel()

    async with serving(worker) as address, router_to(address) as router:
        # One deadline for all, so that one ring of the timer ends those who cancel and those who are cancelled.
        together = request("together", timeout_s=0.05)
        leaving += [asyncio.create_task(router.infer(replace(together))) for _ in range(8)]
        await asyncio.sleep(0)
        for _ in range(8):
            router.submit(replace(together), cancel_all)
        await until(lambda: len(ended) == 8)
        await asyncio.gather(*leaving, return_exceptions=True)
        router.submit(request(timeout_s=0.05), ended.append)
        await until(lambda: len(ended) == 9)
        worker.release.set()
        await still_serves(router)


async def test_whoever_cannot_take_its_answer_costs_neither_its_neighbours_theirs_nor_the_link() -> None:
    worker, answers = FakeWorker(answer_well), list[Outcome]()

    def breaks(outcome: Outcome) -> None:
        raise RuntimeError("a bug of the face that asked")

    async with serving(worker) as address, router_to(address) as router:
        router.submit(request("first", timeout_s=5), breaks)
        router.submit(request("second", timeout_s=6), answers.append)
        await until(lambda: answers)
        assert [item.text for item in worker.batches[0].items] == ["first", "second"]
        assert isinstance(answers[0], InferResult)
        await still_serves(router)


@pytest.mark.parametrize("state", [VariantState.LOADING, VariantState.UNLOADING])
async def test_a_worker_is_sent_nothing_for_a_variant_that_is_not_ready_there(state: VariantState) -> None:
    not_ready, ready = FakeWorker(answer_well), FakeWorker(hold, credits_=1)
    not_ready.variant = replace(not_ready.variant, state=state)
    async with serving(not_ready) as one, serving(ready) as other, router_to(one, other, max_batch_size=1) as router:
        asked = [asyncio.create_task(router.infer(request(f"text {number}"))) for number in range(3)]
        await until(lambda: ready.batches)
        # The one that is ready has no credit left, and the other has two.
        await asyncio.sleep(0.05)
        assert not_ready.batches == []
        ready.release.set()
        await asyncio.gather(*asked)


async def test_a_worker_that_drops_a_variant_with_a_batch_open_may_still_answer_it() -> None:
    async def drop_and_answer(worker: FakeWorker, batch: worker_pb2.Batch, context: Any) -> None:
        response = answered(batch)
        if len(worker.batches) == 1:
            welcome = worker_pb2.Welcome(worker="fake", variants=[to_proto(other_than(worker.variant))])
            await worker.write(context, worker_pb2.ExecuteResponse(welcome=welcome))
            await worker.write(context, worker_pb2.ExecuteResponse(result=response.result, credit=response.credit))
            response = worker_pb2.ExecuteResponse(
                welcome=worker_pb2.Welcome(worker="fake", variants=[to_proto(worker.variant)])
            )
        await worker.write(context, response)

    worker = FakeWorker(drop_and_answer)
    async with serving(worker) as address, router_to(address) as router:
        first = await asyncio.wait_for(router.infer(request("first")), 5)
        assert first.result.classification.label == "first"
        await until(lambda: worker.variant.id in router.view.variants)
        await still_serves(router)


def other_than(variant: Variant) -> Variant:
    return replace(variant, id="other/light-fp32", model="other")


@pytest.mark.parametrize("timeout_s", [1e10, 9e18, 1e19])
async def test_a_request_with_all_the_time_in_the_world_costs_nobody_elses(timeout_s: float) -> None:
    worker = FakeWorker(answer_well)
    async with serving(worker) as address, router_to(address) as router:
        patient = router.infer(request("patient", timeout_s=timeout_s))
        answers = await asyncio.wait_for(asyncio.gather(patient, router.infer(request("other"))), 5)
        assert [one.result.classification.label for one in answers] == ["patient", "other"]
        for _ in range(3):
            await still_serves(router)


@asynccontextmanager
async def tracing_router(address: str, kept: InMemorySpanExporter) -> AsyncIterator[Router]:
    """A router that traces those who ask for it, and nobody else."""
    config = TelemetryConfig(sample_ratio=0.0)
    tracing = Tracing(service="test", config=config, processor=SimpleSpanProcessor(kept))
    router = Router(RouterConfig(), tracing=tracing, directives=ActiveDirective())
    router.pool.set_static([address])
    try:
        await until(lambda: router.ready)
        yield router
    finally:
        await router.pool.close()
        tracing.close()


async def test_a_malformed_traceparent_costs_its_batch_nothing() -> None:
    worker, kept = FakeWorker(answer_well), InMemorySpanExporter()
    asked = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with serving(worker) as address, tracing_router(address, kept) as router:
        requests = [request("nonsense", traceparent="z" * 55), request("traced", traceparent=asked), request("plain")]
        answers = await asyncio.wait_for(asyncio.gather(*map(router.infer, requests)), 5)
        assert [one.trace_id for one in answers] == ["", asked[3:35], ""]
        await still_serves(router)
    (batch_span, *_) = kept.get_finished_spans()
    assert [f"{link.context.trace_id:032x}" for link in batch_span.links] == [asked[3:35]]
