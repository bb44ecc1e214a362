"""The queue of one variant."""

from __future__ import annotations

import random

import pytest

from services.router.queueing.queue import VariantQueue
from services.router.requests.request import PendingRequest, Request, RequestState


def ticket(number: int, *, deadline: float = 10.0, hot: bool = False, now: float = 0.0) -> PendingRequest:
    request = Request(model="m", text=f"text {number}", deadline=deadline)
    return PendingRequest(number, request, lambda outcome: None, hot=hot, now=now)


def queue_of(*tickets: PendingRequest) -> VariantQueue:
    queue = VariantQueue("m/light-fp32")
    for one in tickets:
        queue.push(one)
    return queue


def drain(queue: VariantQueue) -> list[int]:
    popped = []
    while (one := queue.pop()) is not None:
        popped.append(one.id)
    return popped


def test_hot_requests_leave_before_cold_ones_whatever_their_deadlines() -> None:
    queue = queue_of(ticket(1, deadline=1), ticket(2, deadline=9, hot=True), ticket(3, deadline=5, hot=True))
    assert drain(queue) == [3, 2, 1]


def test_equal_deadlines_leave_in_the_order_in_which_they_came() -> None:
    assert drain(queue_of(*(ticket(number) for number in (1, 2, 3)))) == [1, 2, 3]


def test_a_discarded_ticket_is_never_popped_and_is_not_counted() -> None:
    stays, goes = ticket(1), ticket(2, deadline=1)
    queue = queue_of(stays, goes)
    queue.discard(goes)
    goes.state = RequestState.DONE
    assert len(queue) == 1
    assert drain(queue) == [1]
    assert len(queue) == 0


def test_many_departures_do_not_leave_their_entries_behind() -> None:
    queue = queue_of(ticket(0, deadline=1e9))
    for number in range(1, 5_000):
        goes = ticket(number, deadline=1e6 + number)
        queue.push(goes)
        queue.discard(goes)
        goes.state = RequestState.DONE
    assert len(queue) == 1
    held = len(queue._cold) + len(queue._hot) + len(queue._arrivals)
    assert held < 300


def test_steady_service_under_backlog_does_not_leave_arrivals_behind() -> None:
    queue = queue_of(*(ticket(number, deadline=float(number)) for number in range(100)))
    for number in range(100, 10_000):
        queue.push(ticket(number, deadline=float(number)))
        assert queue.pop() is not None
    assert len(queue) == 100
    assert len(queue._arrivals) < 500


def test_a_ticket_that_has_been_on_a_worker_is_a_suspect_and_is_popped_as_one() -> None:
    suspect = ticket(1)
    suspect.suspect = True
    queue = queue_of(suspect, ticket(2))
    assert len(queue) == 2
    assert drain(queue) == [2]
    assert queue.pop_suspect() is suspect
    assert queue.pop_suspect() is None
    assert len(queue) == 0


def test_take_all_empties_the_queue_of_everything_that_still_waits() -> None:
    gone, suspect = ticket(3), ticket(4)
    suspect.suspect = True
    queue = queue_of(ticket(1), ticket(2, hot=True), gone, suspect)
    queue.discard(gone)
    gone.state = RequestState.DONE
    assert sorted(one.id for one in queue.take_all()) == [1, 2, 4]
    assert len(queue) == 0
    assert queue.head() is None


def test_the_head_sorts_queues_hot_first_then_by_deadline() -> None:
    heads = [
        queue_of(ticket(1, deadline=1)).head(),
        queue_of(ticket(2, deadline=9, hot=True)).head(),
        queue_of(ticket(3, deadline=2, hot=True)).head(),
    ]
    assert sorted(heads) == [heads[2], heads[1], heads[0]]  # type: ignore[type-var]


def test_the_oldest_cold_arrival_is_known_although_the_order_is_by_deadline() -> None:
    first, second = ticket(1, deadline=9, now=1.0), ticket(2, deadline=3, now=2.0)
    queue = queue_of(first, second)
    assert queue.oldest_cold_at() == 1.0
    queue.discard(first)
    first.state = RequestState.DONE
    assert queue.oldest_cold_at() == 2.0


def test_cold_work_that_ages_has_every_sixteenth_place_and_the_oldest_has_it_first() -> None:
    cold = [ticket(number, deadline=100.0 - number, now=float(number)) for number in range(3)]
    queue = queue_of(*cold, *(ticket(number, hot=True) for number in range(100, 200)))
    order = [one.id for one in iter(lambda: queue.pop(ages=True), None)]
    assert [order.index(number) for number in range(3)] == [15, 31, 47]
    assert len(order) == 103


def test_without_ageing_cold_work_waits_for_as_long_as_anything_hot_does() -> None:
    queue = queue_of(ticket(1), *(ticket(number, hot=True) for number in range(100, 200)))
    assert drain(queue)[-1] == 1


def test_hot_work_that_nobody_cold_waited_for_does_not_count() -> None:
    queue = queue_of(*(ticket(number, hot=True) for number in range(30)))
    for _ in range(20):
        queue.pop(ages=True)
    queue.push(ticket(100))
    assert queue.pop(ages=True).hot  # type: ignore[union-attr]


def test_a_ticket_that_did_not_fit_waits_on_as_old_as_it_was() -> None:
    oldest, other = ticket(1, deadline=1, now=1.0), ticket(2, deadline=9, now=2.0)
    queue = queue_of(oldest, other)
    popped = queue.pop()
    assert popped is oldest
    queue.put_back(popped)
    assert (len(queue), queue.oldest_cold_at()) == (2, 1.0)
    assert drain(queue) == [1, 2]


def test_a_ticket_that_left_and_came_again_is_there_once() -> None:
    one = ticket(1)
    queue = queue_of(one)
    queue.discard(one)
    queue.push(one)
    assert queue.some(10) == [one]
    assert queue.take_all() == [one]
    assert (len(queue), queue.cold.tokens) == (0, 0)


def test_a_look_at_some_leaves_them_waiting() -> None:
    queue = queue_of(ticket(1), ticket(2), ticket(3, hot=True))
    assert [one.id for one in queue.some(2)] == [3, 1]
    assert len(queue) == 3


def test_cost_and_length_of_what_waits_are_known_and_nothing_of_them_is_left_behind() -> None:
    tickets = [ticket(number, hot=number % 2 == 0) for number in range(6)]
    for one in tickets:
        one.cost_s = 0.1
    queue = queue_of(*tickets)
    assert queue.cost_s == pytest.approx(0.6)
    assert queue.tokens_each == tickets[0].tokens
    drain(queue)
    assert (queue.cost_s, queue.hot.tokens, queue.cold.tokens, queue.tokens_each) == (0.0, 0, 0, 0.0)


@pytest.mark.parametrize("seed", range(20))
def test_any_interleaving_keeps_counts_and_order(seed: int) -> None:
    dice = random.Random(seed)
    queue = VariantQueue("v")
    waiting: dict[int, PendingRequest] = {}
    for number in range(400):
        action = dice.random()
        if action < 0.6 or not waiting:
            one = ticket(number, deadline=dice.uniform(0, 100), hot=dice.random() < 0.3)
            queue.push(one)
            waiting[number] = one
        elif action < 0.8:
            one = waiting.pop(dice.choice(list(waiting)))
            queue.discard(one)
            one.state = RequestState.DONE
        else:
            best = min(waiting.values(), key=lambda one: (not one.hot, one.request.deadline, one.id))
            popped = queue.pop()
            assert popped is best
            del waiting[best.id]
        assert len(queue) == len(waiting)
        assert queue.hot.items == sum(one.hot for one in waiting.values())
