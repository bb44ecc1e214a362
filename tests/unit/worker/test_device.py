"""What the device computes, and what it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from sluice.domain.errors import Cancelled, Expired, InvalidRequest, NoEndpoint, WorkerFailed
from sluice.worker.execution.backend import Classification, Item, Output
from sluice.worker.execution.batch import BatchOutcome, WorkerBatch
from sluice.worker.execution.batch_runner import run_batch
from tests.unit.worker.bench import Bench, bench, echo, work


async def run(made: Bench, *works: WorkerBatch) -> list[BatchOutcome]:
    for one in works:
        made.device.submit(one)
    return await asyncio.wait_for(asyncio.gather(*(one.done for one in works)), 20)


async def test_batches_are_computed_one_after_the_other_in_the_order_in_which_they_were_taken() -> None:
    async with bench() as made:
        first, second = await run(made, work("a", "b"), work("c", first=3))
    assert made.backend.calls == [["a", "b"], ["c"]]
    assert first.outputs == {1: Classification("a", 1.0), 2: Classification("b", 1.0)}
    assert second.outputs == {3: Classification("c", 1.0)}
    assert made.device.items == 3


def poisonous(items: Sequence[Item]) -> list[Output]:
    if any("poison" in item.text for item in items):
        raise ValueError("cannot digest it")
    return echo(items)


async def test_a_poisonous_item_costs_only_itself() -> None:
    async with bench(answer=poisonous) as made:
        (done,) = await run(made, work("a", "poison", "b"))
    failed = done.outputs.pop(2)
    assert isinstance(failed, WorkerFailed)
    assert "ValueError: cannot digest it" in failed.message
    assert done.outputs == {1: Classification("a", 1.0), 3: Classification("b", 1.0)}


async def test_an_item_that_fails_by_itself_is_not_computed_twice() -> None:
    def too_long(items: Sequence[Item]) -> list[Output]:
        return [
            InvalidRequest("too long", field="text") if item.text == "long" else Classification("x", 1)
            for item in items
        ]

    async with bench(answer=too_long) as made:
        (done,) = await run(made, work("a", "long"))
    assert isinstance(done.outputs[2], InvalidRequest)
    assert made.backend.calls == [["a", "long"]]


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_a_backend_that_miscounts_is_never_believed(count: int) -> None:
    async with bench(answer=lambda items: [Classification("whose?", 1.0)] * count) as made:
        (done,) = await run(made, work("a", "b"))
    # One output for one item is a right count again; for two items any other number says nothing about which is whose.
    kind = Classification if count == 1 else WorkerFailed
    assert [type(output) for output in done.outputs.values()] == [kind, kind]
    assert made.backend.calls == [["a", "b"], ["a"], ["b"]]


async def test_the_device_survives_a_backend_that_always_fails() -> None:
    def fails(items: Sequence[Item]) -> list[Output]:
        raise MemoryError("no room")

    async with bench(answer=fails) as made:
        await run(made, work("a", "b"))
        made.backend.answer = echo
        (done,) = await run(made, work("c"))
    assert done.outputs == {1: Classification("c", 1.0)}


async def test_what_expired_before_its_batch_was_begun_is_not_computed() -> None:
    async with bench(clock=lambda: 100.0) as made:
        late, alive = work("late", deadline=100.0), work("alive", deadline=100.1, first=2)
        late.items += alive.items
        (done,) = await run(made, late)
    assert isinstance(done.outputs[1], Expired)
    assert done.outputs[2] == Classification("alive", 1.0)
    assert made.backend.calls == [["alive"]]
    assert made.device.items == 1


async def test_what_was_cancelled_before_its_batch_was_begun_is_not_computed() -> None:
    async with bench() as made:
        made.backend.go_on.clear()
        running, waiting = work("running"), work("unwanted", "wanted", first=2)
        made.device.submit(running)
        made.device.submit(waiting)
        await made.begun()
        waiting.cancelled.add(2)
        # Too late for this one: it is being computed, and may answer as it likes.
        running.cancelled.add(1)
        made.backend.go_on.set()
        first, second = await asyncio.wait_for(asyncio.gather(running.done, waiting.done), 20)
    assert first.outputs == {1: Classification("running", 1.0)}
    assert isinstance(second.outputs[2], Cancelled)
    assert second.outputs[3] == Classification("wanted", 1.0)
    assert made.backend.calls == [["running"], ["wanted"]]


async def test_a_batch_in_which_nobody_is_left_does_not_reach_the_backend() -> None:
    async with bench() as made:
        gone = work("a", "b")
        gone.cancelled |= {1, 2}
        (done,) = await run(made, gone)
    assert {type(output) for output in done.outputs.values()} == {Cancelled}
    assert made.backend.calls == []


async def test_an_unknown_variant_is_told_for_every_item_and_not_by_the_device() -> None:
    async with bench() as made:
        (done,) = await run(made, work("a", "b", variant="m/full-bf16"))
    assert [type(output) for output in done.outputs.values()] == [NoEndpoint, NoEndpoint]
    assert sorted(done.outputs) == [1, 2]
    assert made.backend.calls == []


async def test_the_devices_own_times_are_told_and_counted_as_busy() -> None:
    clock = iter([10.0, 12.5, 12.5, 12.5]).__next__
    async with bench(clock=clock) as made:
        one = work("a")
        one.taken_at = 9.0
        (done,) = await run(made, one)
        assert (done.wait_s, done.compute_s) == (1.0, 2.5)
        assert made.device.busy_s == 2.5


async def test_a_batch_that_is_being_computed_counts_as_busy_already() -> None:
    times = [100.0]
    async with bench(clock=lambda: times[0]) as made:
        made.backend.go_on.clear()
        one = work("a")
        made.device.submit(one)
        await made.begun()
        times[0] = 103.0
        assert made.device.busy_s == 3.0
        made.backend.go_on.set()
        await asyncio.wait_for(one.done, 20)
        assert made.device.busy_s == 3.0


async def test_a_batch_whose_router_has_gone_harms_nobody() -> None:
    async with bench() as made:
        gone = work("a")
        gone.done.cancel()
        made.device.submit(gone)
        (done,) = await run(made, work("b"))
    assert done.outputs == {1: Classification("b", 1.0)}


def test_a_single_item_that_fails_is_tried_once() -> None:
    tries: list[int] = []

    class Failing:
        def execute(self, items: Sequence[Item]) -> list[Output]:
            tries.append(len(items))
            raise RuntimeError("no")

    (output,) = run_batch(Failing(), [Item("a")])  # type: ignore[arg-type]
    assert isinstance(output, WorkerFailed)
    assert tries == [1]
