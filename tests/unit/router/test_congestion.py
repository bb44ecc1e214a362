"""How much of what waits could be served at once elsewhere."""

from __future__ import annotations

import pytest

from services.router.queueing.queue import VariantQueue
from services.router.requests.device_pool import DevicePool
from services.router.requests.request import PendingRequest, Request
from services.router.scheduling.capacity_snapshot import CapacitySnapshot, PlacementRate, SnapshotBuilder
from services.router.scheduling.prices import backlog_s, waiting_by_variant
from sluice.domain.enums import Tier
from sluice.domain.variant import Variant
from tests.unit.router.offers import Bench, variant

FULL, LIGHT = variant(Tier.FULL), variant(Tier.LIGHT)
OTHER = variant(Tier.LIGHT, model="other")


def look(*workers: Bench) -> CapacitySnapshot:
    return SnapshotBuilder(max_batch_size=128).look(workers, PlacementRate(), item_tokens=20.0, now=1.0)


def waiting(**counts: int) -> dict[str, VariantQueue]:
    """So many requests of 20 tokens that cost 10 ms each, by tier."""
    queues = {}
    for tier, count in counts.items():
        held: Variant = {"full": FULL, "light": LIGHT, "other": OTHER}[tier]
        queue = queues[held.id] = VariantQueue(held.id)
        for number in range(count):
            ticket = PendingRequest(
                number, Request(model=held.model, text="x" * 72, deadline=9.0), lambda _: None, hot=False, now=0.0
            )
            ticket.cost_s = 0.01
            queue.push(ticket)
    return queues


def test_work_waits_for_the_pool_whose_workers_serve_it() -> None:
    found = backlog_s(look(Bench(FULL), Bench(FULL), Bench(LIGHT)), waiting(full=100))
    assert found[DevicePool.CPU] == 0
    assert found[DevicePool.ACCELERATOR] == pytest.approx(100 * 20 * 1e-4, rel=0.1)


def unavoidable_cost_s(outlook: CapacitySnapshot, queues: dict[str, VariantQueue]) -> float:
    return sum(one.cost_s for one in waiting_by_variant(outlook, queues, is_moved=True).values())


def test_what_waits_before_one_crew_while_another_is_free_is_no_reason_to_refuse_anybody() -> None:
    queues = waiting(full=100)
    assert unavoidable_cost_s(look(Bench(FULL)), queues) == pytest.approx(1.0)
    assert unavoidable_cost_s(look(Bench(FULL), Bench(LIGHT)), queues) < 0.2


def test_where_all_crews_have_as_much_to_do_all_of_it_counts() -> None:
    outlook = look(Bench(FULL), Bench(LIGHT))
    assert unavoidable_cost_s(outlook, waiting(full=100, light=500)) == pytest.approx(6.0, rel=0.1)


def test_a_free_crew_of_another_model_helps_nobody() -> None:
    assert unavoidable_cost_s(look(Bench(FULL), Bench(OTHER)), waiting(full=100)) == pytest.approx(1.0)


def test_a_worker_that_hangs_makes_its_queue_no_reason_to_refuse_what_others_can_do() -> None:
    hung = Bench(FULL)
    hung.works_on(FULL.id, 20, begun_at=-5.0)
    hung.conduct.hang()
    assert unavoidable_cost_s(look(hung), waiting(full=10)) == pytest.approx(0.1)
    assert unavoidable_cost_s(look(hung, Bench(LIGHT)), waiting(full=10)) < 0.005


def test_what_waits_for_nobody_counts_whole_and_nothing_at_all_not() -> None:
    assert unavoidable_cost_s(look(), waiting(full=10)) == pytest.approx(0.1)
    assert unavoidable_cost_s(look(Bench(FULL)), {}) == 0


def test_where_nobody_moves_it_all_that_waits_counts_whole() -> None:
    found = waiting_by_variant(look(Bench(FULL), Bench(LIGHT)), waiting(full=100), is_moved=False)
    assert {name: one.cost_s for name, one in found.items()} == {FULL.id: pytest.approx(1.0)}


def test_batches_and_hot_work_are_told_by_variant_of_those_that_something_waits_for() -> None:
    queues = waiting(full=1, light=3)
    hot = PendingRequest(9, Request(model="m", text="x", deadline=9.0), lambda _: None, hot=True, now=0.0)
    hot.cost_s = 0.01
    queues[LIGHT.id].push(hot)
    found = waiting_by_variant(look(Bench(FULL), Bench(LIGHT)), queues, is_moved=False)
    assert 0 < found[LIGHT.id].batch_s < found[FULL.id].batch_s
    assert (found[FULL.id].hot_s, found[LIGHT.id].hot_s) == (0.0, pytest.approx(0.01))
    assert OTHER.id not in found
