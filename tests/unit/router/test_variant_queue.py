"""The queue of one variant."""

from __future__ import annotations

import random

import pytest

from services.router.request import Request, Ticket, TicketState
from services.router.variant_queue import VariantQueue


def ticket(number: int, *, deadline: float = 10.0, hot: bool = False, now: float = 0.0) -> Ticket:
    request = Request(model="m", text=f"text {number}", deadline=deadline)
    return Ticket(number, request, lambda outcome: None, hot=hot, now=now)


def queue_of(*tickets: Ticket) -> VariantQueue:
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
    goes.state = TicketState.DONE
    assert len(queue) == 1
    assert drain(queue) == [1]
    assert len(queue) == 0


def test_many_departures_do_not_leave_their_entries_behind() -> None:
    queue = queue_of(ticket(0, deadline=1e9))
    for number in range(1, 5_000):
        goes = ticket(number, deadline=1e6 + number)
        queue.push(goes)
        queue.discard(goes)
        goes.state = TicketState.DONE
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
    suspect.attempts = 1
    queue = queue_of(suspect, ticket(2))
    assert len(queue) == 2
    assert drain(queue) == [2]
    assert queue.pop_suspect() is suspect
    assert queue.pop_suspect() is None
    assert len(queue) == 0


def test_take_all_empties_the_queue_of_everything_that_still_waits() -> None:
    gone, suspect = ticket(3), ticket(4)
    suspect.attempts = 1
    queue = queue_of(ticket(1), ticket(2, hot=True), gone, suspect)
    queue.discard(gone)
    gone.state = TicketState.DONE
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
    first.state = TicketState.DONE
    assert queue.oldest_cold_at() == 2.0


@pytest.mark.parametrize("seed", range(20))
def test_any_interleaving_keeps_counts_and_order(seed: int) -> None:
    dice = random.Random(seed)
    queue = VariantQueue("v")
    waiting: dict[int, Ticket] = {}
    for number in range(400):
        action = dice.random()
        if action < 0.6 or not waiting:
            one = ticket(number, deadline=dice.uniform(0, 100), hot=dice.random() < 0.3)
            queue.push(one)
            waiting[number] = one
        elif action < 0.8:
            one = waiting.pop(dice.choice(list(waiting)))
            queue.discard(one)
            one.state = TicketState.DONE
        else:
            best = min(waiting.values(), key=lambda one: (not one.hot, one.request.deadline, one.id))
            popped = queue.pop()
            assert popped is best
            del waiting[best.id]
        assert len(queue) == len(waiting)
        assert queue.hot_count == sum(one.hot for one in waiting.values())
