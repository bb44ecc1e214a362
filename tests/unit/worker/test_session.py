"""One router's credits at a worker."""

from __future__ import annotations

import asyncio

import pytest

from sluice.domain.errors import Cancelled, Saturated
from sluice.worker.execution.backend import Classification
from sluice.worker.execution.batch import BatchOutcome, WorkerBatch
from sluice.worker.server.stream import BatchSession
from tests.unit.worker.bench import Bench, bench, work


class Router:
    """A session, and what it was sent: batch numbers with their outcomes."""

    def __init__(self, made: Bench, credits_: int = 2) -> None:
        self.sent: list[tuple[int, BatchOutcome]] = []
        self.session = BatchSession(made.device, credits_=credits_, send=self._send)

    def _send(self, number: int, work: WorkerBatch, done: BatchOutcome) -> None:
        self.sent.append((number, done))

    async def finished(self) -> list[int]:
        await asyncio.wait_for(self.session.finished.wait(), 20)
        return [number for number, _ in self.sent]


async def test_every_batch_is_sent_once_and_gives_its_credit_back() -> None:
    async with bench() as made:
        router = Router(made, credits_=1)
        for number in range(1, 6):
            router.session.take(number, work("text"))
            assert (await router.finished())[-1] == number
    assert [number for number, _ in router.sent] == [1, 2, 3, 4, 5]


async def test_a_batch_without_a_credit_is_refused_and_the_others_go_on() -> None:
    async with bench() as made:
        made.backend.go_on.clear()
        router = Router(made)
        router.session.take(1, work("a"))
        router.session.take(2, work("b"))
        with pytest.raises(Saturated):
            router.session.take(3, work("c"))
        assert router.session.open_items == 2
        made.backend.go_on.set()
        assert await router.finished() == [1, 2]


async def test_a_batch_number_that_is_open_is_refused() -> None:
    async with bench() as made:
        made.backend.go_on.clear()
        router = Router(made)
        router.session.take(1, work("a"))
        with pytest.raises(Saturated):
            router.session.take(1, work("b"))
        made.backend.go_on.set()
        assert await router.finished() == [1]
        router.session.take(1, work("c"))
        assert await router.finished() == [1, 1]


async def test_routers_have_accounts_of_their_own() -> None:
    async with bench() as made:
        made.backend.go_on.clear()
        one, other = Router(made, credits_=1), Router(made, credits_=1)
        one.session.take(1, work("a"))
        other.session.take(1, work("b", "c"))
        assert (one.session.open_items, other.session.open_items) == (1, 2)
        made.backend.go_on.set()
        assert await one.finished() == await other.finished() == [1]


async def test_cancelling_reaches_what_waits_and_ignores_ids_that_are_not_there() -> None:
    async with bench() as made:
        made.backend.go_on.clear()
        router = Router(made)
        router.session.take(1, work("a"))
        router.session.take(2, work("b", "c", first=2))
        await made.begun()
        router.session.cancel({3, 99})
        made.backend.go_on.set()
        await router.finished()
    outputs = router.sent[1][1].outputs
    assert outputs[2] == Classification("b", 1.0)
    assert isinstance(outputs[3], Cancelled)


async def test_when_the_router_goes_nothing_more_is_begun_nor_sent() -> None:
    async with bench() as made:
        made.backend.go_on.clear()
        gone, stays = Router(made), Router(made)
        gone.session.take(1, work("running"))
        gone.session.take(2, work("waits"))
        stays.session.take(1, work("other"))
        await made.begun()
        gone.session.abandon()
        assert gone.session.open_items == 0
        assert gone.session.finished.is_set()
        made.backend.go_on.set()
        assert await stays.finished() == [1]
    assert gone.sent == []
    assert made.backend.calls == [["running"], ["other"]]


async def test_an_unknown_variant_uses_a_credit_like_any_batch_and_gives_it_back() -> None:
    async with bench() as made:
        router = Router(made, credits_=1)
        router.session.take(1, work("a", variant="nobody/full-fp32"))
        with pytest.raises(Saturated):
            router.session.take(2, work("b"))
        assert await router.finished() == [1]
        router.session.take(2, work("b"))
        assert await router.finished() == [1, 2]
