"""When a batch goes, and from which queue."""

from __future__ import annotations

import pytest

from services.router.dispatch.batching_policy import (
    choose_queue,
    count_skips,
    max_batch_s,
    may_dispatch_at,
    should_wait_for_batch,
)
from services.router.queueing.queue import VariantQueue
from services.router.requests.request import PendingRequest, Request


def queue_of(name: str, *tickets: tuple[float, bool, float]) -> VariantQueue:
    queue = VariantQueue(name)
    for number, (deadline, hot, now) in enumerate(tickets):
        request = Request(model="m", text="t", deadline=deadline)
        queue.push(PendingRequest(number, request, lambda outcome: None, hot=hot, now=now))
    return queue


def pick(
    *queues: VariantQueue, idle: bool, now: float = 0.0, max_items: int = 8, ages: bool = False
) -> tuple[str | None, float]:
    choice = choose_queue(queues, idle=idle, max_items=max_items, batch_timeout_s=0.05, ages=ages, now=now)
    return (choice.queue.variant_id if choice.queue else None), choice.look_again_at


def test_an_idle_worker_takes_cold_work_at_once() -> None:
    assert pick(queue_of("a", (9, False, 0.0)), idle=True)[0] == "a"


def test_cold_work_lingers_behind_a_running_batch_until_its_time_is_up() -> None:
    queue = queue_of("a", (9, False, 1.0))
    assert pick(queue, idle=False, now=1.01) == (None, 1.05)
    assert pick(queue, idle=False, now=1.05)[0] == "a"


def test_hot_work_never_lingers() -> None:
    assert pick(queue_of("a", (9, True, 0.0)), idle=False)[0] == "a"


def test_a_full_batch_never_lingers() -> None:
    full = queue_of("a", *((9.0, False, 0.0) for _ in range(8)))
    assert pick(full, idle=False)[0] == "a"


def test_a_hot_request_of_one_variant_goes_before_cold_ones_of_another() -> None:
    assert pick(queue_of("a", (1, False, 0.0)), queue_of("b", (9, True, 0.0)), idle=True)[0] == "b"


def test_the_earliest_deadline_decides_between_variants() -> None:
    assert pick(queue_of("a", (5, False, 0.0)), queue_of("b", (3, False, 0.0)), idle=True)[0] == "b"


def test_cold_work_of_another_variant_has_every_sixteenth_batch_and_only_while_it_ages() -> None:
    hot, cold = queue_of("hot", (9, True, 0.0)), queue_of("cold", (9, False, 0.0))
    taken = []
    for _ in range(32):
        choice = choose_queue([hot, cold], idle=True, max_items=8, batch_timeout_s=0.05, ages=True, now=1.0)
        assert choice.queue is not None
        count_skips([hot, cold], choice.queue)
        taken.append(choice.queue.variant_id)
    assert taken == (["hot"] * 15 + ["cold"]) * 2
    cold.skips = 1_000
    assert pick(hot, cold, idle=True, now=1.0)[0] == "hot"


def test_who_has_nothing_to_send_or_hot_work_of_its_own_is_not_passed_over() -> None:
    chosen, empty, hot = queue_of("a", (1, True, 0.0)), queue_of("b"), queue_of("c", (9, True, 0.0))
    empty.skips = 7
    count_skips([chosen, empty, hot], chosen)
    assert [one.skips for one in (chosen, empty, hot)] == [0, 0, 0]


def test_a_suspect_waits_for_a_worker_that_has_nothing_else() -> None:
    queue = VariantQueue("a")
    suspect = PendingRequest(1, Request(model="m", text="t", deadline=9), lambda outcome: None, hot=True, now=0.0)
    suspect.suspect = True
    queue.push(suspect)
    assert pick(queue, idle=False) == (None, float("inf"))
    assert pick(queue, idle=True)[0] == "a"


def test_nothing_waiting_means_nothing_to_look_for() -> None:
    assert pick(VariantQueue("a"), idle=True) == (None, float("inf"))
    assert may_dispatch_at(VariantQueue("a"), idle=False, max_items=8, batch_timeout_s=0.05) == float("inf")


def test_gathering_pays_only_when_company_is_expected() -> None:
    assert not should_wait_for_batch(400, 64, 0.004)
    assert should_wait_for_batch(4_000, 64, 0.004)
    assert not should_wait_for_batch(1e9, 64, 0.0)


@pytest.mark.parametrize("callers", [1, 3, 15])
def test_a_few_callers_who_wait_for_each_answer_are_never_made_to_wait_for_each_other(callers: int) -> None:
    assert not should_wait_for_batch(1e9, callers, 0.004)


@pytest.mark.parametrize(
    ("slack_s", "since_hot_s", "expected_s"),
    [(120.0, 0.0, 0.1), (120.0, 9.9, 0.1), (120.0, 10.0, 1.0), (5.0, 11.0, 0.5), (0.2, 11.0, 0.1), (-1.0, 11.0, 0.1)],
)
def test_batches_are_long_only_while_nobody_is_in_a_hurry(
    slack_s: float, since_hot_s: float, expected_s: float
) -> None:
    assert max_batch_s(slack_s=slack_s, since_hot_s=since_hot_s) == expected_s
