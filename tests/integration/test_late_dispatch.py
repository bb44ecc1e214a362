"""A router against a worker that the test writes: what is sent, what is not, and what becomes of each request."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from services.router.requests.request import InferResult, Request
from services.router.router import Router
from sluice.domain.enums import QueryClass, Tier
from sluice.domain.errors import Expired, NoEndpoint, Saturated, ShuttingDown, SluiceError, WorkerFailed
from sluice.v1 import worker_service_pb2 as worker_pb2
from tests.integration.fake_worker import FakeWorker, answer_well, answered, hold, router_to, serving


def request(text: str = "text", *, timeout_s: float = 10.0, priority: float = 0.5, **more: Any) -> Request:
    return Request(
        model="echo",
        text=text,
        deadline=time.monotonic() + timeout_s,
        priority=priority,
        query_class=QueryClass.SIMPLE,
        **more,
    )


def label(answer: InferResult) -> str:
    return answer.result.classification.label


async def until(condition: Any) -> None:
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came to that")


async def outcomes(router: Router, *requests: Request) -> list[InferResult | BaseException]:
    return await asyncio.gather(*(router.infer(one) for one in requests), return_exceptions=True)


async def test_requests_that_come_together_travel_together() -> None:
    worker = FakeWorker(answer_well)
    async with serving(worker) as address, router_to(address) as router:
        answers = await outcomes(router, *(request(f"text {number}") for number in range(100)))
    assert [label(one) for one in answers if isinstance(one, InferResult)] == [
        f"text {number}" for number in range(100)
    ]
    assert len(worker.batches) == 1


async def test_workers_that_are_all_idle_take_turns() -> None:
    workers = [FakeWorker(answer_well) for _ in range(3)]
    first, second, third = map(serving, workers)
    async with first as one, second as two, third as three, router_to(one, two, three) as router:
        for number in range(9):
            await router.infer(request(f"{number}"))
    assert [len(worker.batches) for worker in workers] == [3, 3, 3]


async def test_no_more_batches_are_sent_than_credits_were_granted() -> None:
    worker = FakeWorker(hold, credits_=2)
    async with serving(worker) as address, router_to(address, max_batch_size=1) as router:
        waiting = asyncio.gather(*(router.infer(request(f"{number}")) for number in range(10)))
        await until(lambda: len(worker.batches) == 2)
        await asyncio.sleep(0.05)
        assert len(worker.batches) == 2
        assert sum(router.dispatcher.waiting()) == 8
        worker.release.set()
        assert len(await waiting) == 10


async def test_hot_requests_overtake_cold_ones_that_wait_and_deadlines_order_the_rest() -> None:
    worker = FakeWorker(hold, credits_=1)
    async with serving(worker) as address, router_to(address, max_batch_size=1) as router:
        first = asyncio.create_task(router.infer(request("first")))
        await until(lambda: len(worker.batches) == 1)
        rest = asyncio.gather(
            router.infer(request("late", timeout_s=9)),
            router.infer(request("early", timeout_s=5)),
            router.infer(request("hot", timeout_s=9, priority=0.9)),
        )
        await until(lambda: sum(router.dispatcher.waiting()) == 3)
        worker.release.set()
        await asyncio.gather(first, rest)
    assert [batch.items[0].text for batch in worker.batches] == ["first", "hot", "early", "late"]


async def test_a_cold_request_lingers_behind_a_running_batch_and_a_hot_one_does_not() -> None:
    worker = FakeWorker(hold, credits_=2)
    async with serving(worker) as address, router_to(address, batch_timeout_ms=5_000) as router:
        running = [asyncio.create_task(router.infer(request("running")))]
        await until(lambda: len(worker.batches) == 1)
        running.append(asyncio.create_task(router.infer(request("cold"))))
        await asyncio.sleep(0.05)
        assert len(worker.batches) == 1
        running.append(asyncio.create_task(router.infer(request("hot", priority=0.7))))
        await until(lambda: len(worker.batches) == 2)
        assert [item.text for item in worker.batches[1].items] == ["hot", "cold"]
        worker.release.set()
        await asyncio.gather(*running)


async def test_a_request_that_expires_in_the_queue_never_reaches_a_worker() -> None:
    worker = FakeWorker(hold, credits_=1)
    async with serving(worker) as address, router_to(address) as router:
        first = asyncio.create_task(router.infer(request("first")))
        await until(lambda: len(worker.batches) == 1)
        with pytest.raises(Expired):
            await router.infer(request("expires", timeout_s=0.05))
        worker.release.set()
        await first
        await router.infer(request("after"))
    assert [item.text for batch in worker.batches for item in batch.items] == ["first", "after"]


async def test_a_request_that_expires_at_the_worker_is_answered_while_the_worker_still_computes() -> None:
    worker = FakeWorker(hold, credits_=1)
    async with serving(worker) as address, router_to(address) as router:
        with pytest.raises(Expired):
            await router.infer(request("slow", timeout_s=0.05))
        assert router.open_requests == 0
        worker.release.set()
        await router.infer(request("after"))


async def test_a_cancelled_request_that_waits_is_never_computed() -> None:
    worker = FakeWorker(hold, credits_=1)
    async with serving(worker) as address, router_to(address) as router:
        first = asyncio.create_task(router.infer(request("first")))
        await until(lambda: len(worker.batches) == 1)
        second = asyncio.create_task(router.infer(request("second")))
        await until(lambda: sum(router.dispatcher.waiting()) == 1)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert sum(router.dispatcher.waiting()) == 0
        worker.release.set()
        await first
    assert len(worker.batches) == 1


async def test_work_waits_behind_one_message_for_all_that_is_cancelled() -> None:
    worker = FakeWorker(hold, credits_=4)
    async with serving(worker) as address, router_to(address) as router:
        sent = [asyncio.create_task(router.infer(request(f"sent {number}"))) for number in range(100)]
        await until(lambda: sum(len(batch.items) for batch in worker.batches) == 100)
        for one in sent:
            one.cancel()
        await asyncio.gather(*sent, return_exceptions=True)
        await until(lambda: len(worker.cancelled) == 100)
        assert sorted(worker.cancelled) == sorted(item.id for batch in worker.batches for item in batch.items)
        assert worker.cancels <= 5
        worker.release.set()
        # What is cancelled later is told as well.
        later = asyncio.create_task(router.infer(request("later")))
        worker.answer = answer_well
        assert label(await later) == "later"


async def test_cancelling_a_request_that_was_sent_reaches_the_worker() -> None:
    worker = FakeWorker(hold, credits_=1)
    async with serving(worker) as address, router_to(address) as router:
        sent = asyncio.create_task(router.infer(request("sent")))
        await until(lambda: len(worker.batches) == 1)
        sent.cancel()
        await until(lambda: worker.cancelled == [worker.batches[0].items[0].id])
        assert router.open_requests == 0
        worker.release.set()


async def die_once(worker: FakeWorker, batch: worker_pb2.Batch, context: Any) -> None:
    if worker.streams == 1:
        await context.abort(13, "the worker dies")
    await worker.write(context, answered(batch))


async def test_a_worker_that_dies_with_a_batch_costs_its_requests_one_more_try_each_alone() -> None:
    dying, healthy = FakeWorker(die_once), FakeWorker(answer_well, tier=Tier.QUANTIZED)
    async with serving(dying) as one, serving(healthy) as other, router_to(one, other) as router:
        answers = await outcomes(router, *(request(f"text {number}") for number in range(5)))
    assert [label(one) for one in answers if isinstance(one, InferResult)] == [f"text {number}" for number in range(5)]
    assert len(dying.batches[0].items) == 5
    again = [*dying.batches[1:], *healthy.batches]
    assert sorted(item.text for batch in again for item in batch.items) == [f"text {number}" for number in range(5)]
    assert all(len(batch.items) == 1 for batch in again)


async def always_die(worker: FakeWorker, batch: worker_pb2.Batch, context: Any) -> None:
    if any("poison" in item.text for item in batch.items):
        await context.abort(13, "the worker dies of it")
    await worker.write(context, answered(batch))


async def test_a_poisonous_request_is_tried_twice_and_takes_nobody_with_it() -> None:
    worker = FakeWorker(always_die)
    other = FakeWorker(always_die)
    async with serving(worker) as one, serving(other) as two, router_to(one, two) as router:
        requests = [request("poison"), *(request(f"good {number}") for number in range(20))]
        ended = await outcomes(router, *requests)
    assert isinstance(ended[0], WorkerFailed)
    assert all(isinstance(outcome, InferResult) for outcome in ended[1:]), ended
    tries = [batch for batch in (*worker.batches, *other.batches) for item in batch.items if item.text == "poison"]
    assert len(tries) == 2


@pytest.mark.parametrize("lie", ["unknown batch", "unknown item", "missing item", "item twice", "no outcome"])
async def test_a_worker_that_answers_nonsense_is_dropped_and_its_requests_answered_elsewhere(lie: str) -> None:
    async def nonsense(worker: FakeWorker, batch: worker_pb2.Batch, context: Any) -> None:
        response = answered(batch)
        if lie == "unknown batch":
            response.result.batch_id = 999
        elif lie == "unknown item":
            response.result.results[0].id = 999_999
        elif lie == "missing item":
            del response.result.results[0]
        elif lie == "item twice":
            response.result.results[0].id = response.result.results[1].id
        else:
            response.result.results[0].ClearField("classification")
        await worker.write(context, response)

    liar, honest = FakeWorker(nonsense), FakeWorker(answer_well, tier=Tier.QUANTIZED)
    async with serving(liar) as one, serving(honest) as other, router_to(one, other) as router:
        liar_requests = outcomes(router, request("a"), request("b"), request("c"))
        real_time = request("d")
        real_time.query_class = QueryClass.REAL_TIME
        honest_request = router.infer(real_time)
        ended, unharmed = await asyncio.gather(liar_requests, honest_request)
    assert label(unharmed) == "d"
    # Each ends once: answered by the honest worker, or failed by the liar twice.
    assert len(ended) == 3
    assert all(isinstance(outcome, InferResult | WorkerFailed) for outcome in ended)


async def test_when_nobody_serves_the_tier_any_more_what_waits_is_placed_elsewhere() -> None:
    light, quantized = FakeWorker(hold, credits_=1), FakeWorker(answer_well, tier=Tier.QUANTIZED)
    async with serving(quantized) as other:
        async with serving(light) as one:
            router_context = router_to(one, other)
            router = await router_context.__aenter__()
            waiting = [asyncio.create_task(router.infer(request(f"text {number}"))) for number in range(3)]
            await until(lambda: len(light.batches) == 1)
        answers = await asyncio.gather(*waiting)
        assert {answer.variant.tier for answer in answers} == {Tier.QUANTIZED}
        assert {answer.degraded_from for answer in answers} == {Tier.LIGHT}
        await router_context.__aexit__(None, None, None)


async def test_the_router_refuses_what_is_beyond_its_room_and_keeps_a_reserve_for_hot_work() -> None:
    worker = FakeWorker(hold)
    async with serving(worker) as address, router_to(address, max_open_requests=10) as router:
        held = [asyncio.create_task(router.infer(request(f"{number}"))) for number in range(9)]
        await until(lambda: router.open_requests == 9)
        with pytest.raises(Saturated) as caught:
            await router.infer(request("cold"))
        assert caught.value.retry_after_s is not None
        hot = asyncio.create_task(router.infer(request("hot", priority=1.0)))
        await until(lambda: router.open_requests == 10)
        with pytest.raises(Saturated):
            await router.infer(request("hot too", priority=1.0))
        worker.release.set()
        await asyncio.gather(*held, hot)
        assert router.open_requests == 0


async def test_a_draining_router_refuses_the_new_and_finishes_the_old() -> None:
    worker = FakeWorker(hold)
    async with serving(worker) as address, router_to(address) as router:
        old = asyncio.create_task(router.infer(request("old")))
        await until(lambda: len(worker.batches) == 1)
        draining = asyncio.create_task(router.drain())
        await until(lambda: not router.ready)
        with pytest.raises(ShuttingDown):
            await router.infer(request("new"))
        assert not draining.done()
        worker.release.set()
        assert label(await old) == "old"
        await asyncio.wait_for(draining, 5)


async def test_without_any_worker_a_request_may_be_tried_again_later() -> None:
    async with router_to() as router:
        with pytest.raises(NoEndpoint):
            await router.infer(request())


async def test_every_offered_request_is_counted_once() -> None:
    worker = FakeWorker(always_die)
    async with serving(worker) as address, router_to(address, max_open_requests=50) as router:
        offered = [request(f"good {number}") for number in range(80)] + [request("poison"), request("")]
        ended = await outcomes(router, *offered)
        assert sum(router.ledger.outcomes.values()) == len(offered)
        ok = sum(isinstance(outcome, InferResult) for outcome in ended)
        counted_ok = sum(count for key, count in router.ledger.outcomes.items() if key[2] == "ok")
        assert counted_ok == ok
        assert all(isinstance(outcome, InferResult | SluiceError) for outcome in ended)


async def test_admitted_requests_outlast_a_moment_without_workers_and_no_longer() -> None:
    worker = FakeWorker(hold, credits_=1)
    serving_worker = serving(worker)
    address = await serving_worker.__aenter__()
    async with router_to(address, endpoint_grace_s=0.05) as router:
        waiting = asyncio.create_task(outcomes(router, request("a"), request("b")))
        await until(lambda: len(worker.batches) == 1)
        await serving_worker.__aexit__(None, None, None)
        assert all(isinstance(outcome, NoEndpoint) for outcome in await waiting)
        assert router.open_requests == 0
