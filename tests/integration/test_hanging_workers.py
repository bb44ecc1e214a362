"""Workers that hang, and levels that steer: what a live router makes of them, before workers that the test writes."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest

from services.router.requests.device_pool import DevicePool
from services.router.requests.request import InferResult, Request
from services.router.router import Router
from services.router.workers.client import WorkerClient
from sluice.control.directive import ActiveDirective, Directive
from sluice.control.roster import Roster, RosterEntry
from sluice.domain.enums import Level, MemberKind, QueryClass, Tier
from sluice.domain.errors import Expired, NoEndpoint, Saturated
from sluice.v1 import worker_service_pb2 as worker_pb2
from tests.integration.fake_worker import FakeWorker, answer_well, answered, router_to, serving
from tests.unit.polling import until

HANG = "hang"


async def hang_when_told(worker: FakeWorker, batch: worker_pb2.Batch, context: Any) -> None:
    """Answers at once, but for a batch in which somebody says so, and all behind it, until it is released."""
    if any(item.text.startswith(HANG) for item in batch.items):
        worker.hung = True  # type: ignore[attr-defined]
    if getattr(worker, "hung", False):
        await worker.release.wait()
    await worker.write(context, answered(batch))


def request(text: str = "text", *, timeout_s: float = 10.0, **more: Any) -> Request:
    wanted = more.pop("query_class", QueryClass.SIMPLE)
    return Request(model="echo", text=text, deadline=time.monotonic() + timeout_s, query_class=wanted, **more)


async def ask(router: Router, **more: Any) -> InferResult:
    return await asyncio.wait_for(router.infer(request(**more)), 10)


def link_to(router: Router, address: str) -> WorkerClient:
    return next(link for link in router.pool.links() if link.address == address)


async def warm(router: Router, *workers: FakeWorker) -> None:
    """Every worker has answered, so that how long it takes is known."""
    while not all(worker.batches for worker in workers):
        await asyncio.gather(*(router.infer(request("warm")) for _ in range(8)))
    await until(lambda: not any(link.open for link in router.pool.links()))


async def test_a_worker_that_hangs_loses_what_it_holds_to_another_and_comes_back_when_it_answers() -> None:
    one, other = FakeWorker(hang_when_told), FakeWorker(hang_when_told)
    async with serving(one) as first, serving(other) as second, router_to(first, second, max_batch_size=1) as router:
        await warm(router, one, other)
        hangs = asyncio.create_task(ask(router, text="hang once"))
        await until(lambda: getattr(one, "hung", False) or getattr(other, "hung", False))
        hung, healthy = (one, other) if getattr(one, "hung", False) else (other, one)
        link = link_to(router, first if hung is one else second)
        # The other one must not hang of the same text.
        healthy.answer = answer_well
        assert (await hangs).result.classification.label == "hang once"
        assert link.conduct.is_ejected
        assert hung.cancelled == [hung.batches[-1].items[0].id]
        before = len(hung.batches)
        await asyncio.gather(*(ask(router, text=f"{number}") for number in range(50)))
        assert len(hung.batches) == before
        hung.hung = False  # type: ignore[attr-defined]
        hung.release.set()
        await until(lambda: not link.conduct.stuck)
        while link.conduct.is_ejected:
            await asyncio.gather(*(ask(router) for _ in range(8)))
        assert len(hung.batches[before].items) == 1
        assert router.open_requests == 0


async def test_the_only_worker_of_a_tier_that_hangs_keeps_nothing_that_another_tier_may_answer() -> None:
    full, light = FakeWorker(hang_when_told, tier=Tier.FULL), FakeWorker(answer_well)
    async with serving(full) as first, serving(light) as second, router_to(first, second, max_batch_size=4) as router:
        complex_one = {"query_class": QueryClass.COMPLEX}
        assert (await ask(router, **complex_one)).variant.tier is Tier.FULL
        asked = [asyncio.create_task(ask(router, text=f"hang {number}", **complex_one)) for number in range(40)]
        answers = await asyncio.gather(*asked)
        assert {(one.variant.tier, one.degraded_from) for one in answers} == {(Tier.LIGHT, Tier.FULL)}
        assert not link_to(router, first).conduct.is_ejected
        full.hung = False  # type: ignore[attr-defined]
        full.release.set()
        await until(lambda: not link_to(router, first).conduct.stuck)
        assert (await ask(router, **complex_one)).variant.tier is Tier.FULL


async def test_what_nobody_else_may_answer_waits_for_the_worker_that_hangs_and_no_longer_than_its_time() -> None:
    full, light = FakeWorker(hang_when_told, tier=Tier.FULL), FakeWorker(answer_well)
    async with serving(full) as first, serving(light) as second, router_to(first, second, max_batch_size=1) as router:
        await ask(router, minimum_tier=Tier.FULL)
        patient = [asyncio.create_task(ask(router, text=HANG, minimum_tier=Tier.FULL)) for _ in range(3)]
        await until(lambda: getattr(full, "hung", False))
        with pytest.raises((Expired, Saturated)):
            await ask(router, minimum_tier=Tier.FULL, timeout_s=0.5)
        full.hung = False  # type: ignore[attr-defined]
        full.release.set()
        assert {one.variant.tier for one in await asyncio.gather(*patient)} == {Tier.FULL}
        assert len(light.batches) == 0


async def die(worker: FakeWorker, batch: worker_pb2.Batch, context: Any) -> None:
    if any(item.text == "die" for item in batch.items):
        await context.abort(13, "the worker dies")
    await worker.write(context, answered(batch))


async def test_second_tries_are_bounded_and_who_gets_none_is_told_to_come_back() -> None:
    # Four workers die with four requests each at once, and the budget holds two batches' worth of tries.
    workers = [FakeWorker(die, credits_=1) for _ in range(4)]
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(serving(one)) for one in workers]
        router = await stack.enter_async_context(router_to(*addresses, max_batch_size=4))
        asked = [asyncio.create_task(ask(router, text="die")) for _ in range(16)]
        ended = await asyncio.gather(*asked, return_exceptions=True)
        tries = sum(item.text == "die" for one in workers for batch in one.batches for item in batch.items)
        assert 16 < tries <= 16 + 8
        shed = [one for one in ended if isinstance(one, Saturated)]
        assert len(shed) == 16 - (tries - 16)
        assert all(one.retry_after_s for one in shed)
        assert router.open_requests == 0
        await until(lambda: router.view.serving)
        assert (await ask(router, text="after")).result.classification.label == "after"


def in_force(level: Level, share: float) -> ActiveDirective:
    directives = ActiveDirective()
    order = Directive(epoch=1, revision=1, levels=(level,), offload_share=share, lighten_share=share)
    directives.apply(order, time.monotonic())
    return directives


@pytest.mark.parametrize("level", [Level.OFFLOAD, Level.LIGHTEN])
async def test_a_level_moves_all_it_may_and_honours_the_callers_minimum(level: Level) -> None:
    full, light = FakeWorker(answer_well, tier=Tier.FULL), FakeWorker(answer_well)
    async with (
        serving(full) as first,
        serving(light) as second,
        router_to(first, second, directives=in_force(level, 1.0)) as router,
    ):
        moved = await ask(router, query_class=QueryClass.COMPLEX)
        assert (moved.variant.tier, moved.degraded_from, moved.levels) == (Tier.LIGHT, Tier.FULL, (level,))
        assert (await ask(router, minimum_tier=Tier.FULL)).variant.tier is Tier.FULL
        hot = await ask(router, query_class=QueryClass.COMPLEX, priority=0.9)
        assert hot.variant.tier is (Tier.FULL if level is Level.OFFLOAD else Tier.LIGHT)


async def test_a_minimum_tier_that_nobody_serves_is_refused_and_never_undercut() -> None:
    light = FakeWorker(answer_well)
    async with serving(light) as address, router_to(address, directives=in_force(Level.LIGHTEN, 1.0)) as router:
        with pytest.raises(NoEndpoint):
            await ask(router, minimum_tier=Tier.FULL)
        assert light.batches == []


async def test_a_conversation_stays_with_the_variant_that_answered_it() -> None:
    light, quantized = FakeWorker(answer_well), FakeWorker(answer_well, tier=Tier.QUANTIZED)
    unclassed = {"query_class": QueryClass.UNSPECIFIED, "priority": 0.1}
    async with serving(light) as first, serving(quantized) as second, router_to(first) as router:
        assert (await ask(router, conversation_id="c", **unclassed)).variant.tier is Tier.LIGHT
        router.pool.set_static([first, second])
        await until(lambda: sum(link.up for link in router.pool.links()) == 2)
        stranger = await ask(router, conversation_id="d", **unclassed)
        assert stranger.variant.tier is Tier.QUANTIZED
        for _ in range(5):
            assert (await ask(router, conversation_id="c", **unclassed)).variant.tier is Tier.LIGHT
            assert (await ask(router, conversation_id="d", **unclassed)).variant.tier is Tier.QUANTIZED


async def test_cold_work_is_answered_however_much_hot_work_comes_and_only_below_level_three() -> None:
    for directives, aged in ((ActiveDirective(), True), (in_force(Level.ADMIT, 0.0), False)):
        worker = FakeWorker(answer_well, credits_=0)
        async with serving(worker) as address, router_to(address, max_batch_size=1, directives=directives) as router:
            cold = asyncio.create_task(ask(router, text="cold", priority=0.5))
            hot = [asyncio.create_task(ask(router, text="hot", priority=0.9)) for _ in range(40)]
            await until(lambda: sum(router.dispatcher.waiting()) == 41)
            link = link_to(router, address)
            link.credits, link.max_items = 1, 1
            router.dispatcher.on_credit(link)
            await asyncio.gather(cold, *hot)
            order = [batch.items[0].text for batch in worker.batches]
            assert order.index("cold") == (15 if aged else 40)


async def test_the_fleet_may_know_better_what_a_worker_is_than_what_it_holds_now() -> None:
    light = FakeWorker(answer_well)
    async with serving(light) as address, router_to(address) as router:
        assert link_to(router, address).pool is DevicePool.CPU
        router.pool.set_roster(Roster(members=(RosterEntry(id="w", kind=MemberKind.GPU_WORKER, address=address),)))
        assert link_to(router, address).pool is DevicePool.ACCELERATOR
        assert (await ask(router)).variant.tier is Tier.LIGHT
