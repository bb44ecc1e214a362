"""Order between callers: nobody's flood makes another wait for more than its share."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from services.router.queueing.fair_queue import LEAD_REQUESTS, FairQueue
from services.router.queueing.queue import VariantQueue
from services.router.requests.caller import Caller
from services.router.requests.request import PendingRequest, Request, RequestState

COST_S = 0.01


def ticket(
    number: int, caller: str, *, deadline: float = 10.0, cost_s: float = COST_S, hot: bool = False
) -> PendingRequest:
    request = Request(model="m", text="text", deadline=deadline, caller=Caller(caller))
    made = PendingRequest(number, request, lambda _: None, hot=hot, now=0.0)
    made.cost_s = cost_s
    return made


def served(queue: VariantQueue, count: int) -> list[PendingRequest]:
    found = [queue.pop() for _ in range(count)]
    return [one for one in found if one is not None]


def test_a_polite_caller_waits_for_a_few_of_a_flood_however_long_that_is_and_however_urgent() -> None:
    queue = VariantQueue("v")
    for number in range(1_000):
        queue.push(ticket(number, "flood", deadline=1.0))
    served(queue, 10)
    queue.push(ticket(1_000, "polite", deadline=100.0))
    assert "polite" in {one.request.caller.id for one in served(queue, 4)}


def test_callers_who_wait_are_served_alike_by_work_and_not_by_number() -> None:
    queue = VariantQueue("v")
    for number in range(600):
        queue.push(ticket(number, "dear", cost_s=5 * COST_S, deadline=1.0))
        queue.push(ticket(1_000 + number, "cheap", deadline=2.0))
    work = Counter[str]()
    for one in served(queue, 300):
        work[one.request.caller.id] += round(one.cost_s / COST_S)
    assert abs(work["dear"] - work["cheap"]) <= 20


def test_who_left_the_queue_and_comes_again_at_once_gains_nothing() -> None:
    queue = VariantQueue("v")
    for number in range(500):
        queue.push(ticket(number, "steady"))
    counts = Counter[str]()
    for number in range(200):
        # One who never has more than one request waiting, and sends the next when that was taken.
        if not queue.cost_of("blinking", hot=False):
            queue.push(ticket(1_000 + number, "blinking", deadline=1.0))
        counts[served(queue, 1)[0].request.caller.id] += 1
    assert counts["blinking"] <= counts["steady"] + 5


def test_a_ticket_that_did_not_fit_costs_its_caller_nothing() -> None:
    queue = VariantQueue("v")
    for number in range(50):
        queue.push(ticket(number, "a"))
        queue.push(ticket(100 + number, "b"))
    for _ in range(200):
        one = queue.pop()
        assert one is not None
        if one.request.caller.id == "b":
            break
        queue.put_back(one)
        queue.discard(one)
        one.state = RequestState.DONE
    counts = Counter(one.request.caller.id for one in served(queue, 40))
    assert min(counts.values()) >= 15


def test_a_newcomer_expects_to_wait_for_its_share_and_a_flood_for_its_own_queue() -> None:
    queue = VariantQueue("v")
    for number in range(1_000):
        queue.push(ticket(number, "flood"))
    everything = queue.cold.tokens
    ahead = queue.ahead_of(20.0, hot=False, caller="polite")
    assert ahead <= 3 * queue.tokens_each
    assert queue.ahead_of(20.0, hot=False, caller="flood") == everything
    assert queue.ahead_of(1.0, hot=False, caller="polite") == 0


@pytest.mark.parametrize("seed", range(30))
def test_in_any_interleaving_nothing_is_lost_and_no_waiting_caller_falls_behind_another(seed: int) -> None:
    """While two callers wait all the time, the work that they are served differs by a lead and two requests at most."""
    dice = random.Random(seed)
    queue = VariantQueue("v")
    waiting: dict[int, PendingRequest] = {}
    names = [f"c{number}" for number in range(dice.randint(2, 6))]
    always = names[:2]
    most = 3 * COST_S
    number = 0

    def push(name: str) -> None:
        nonlocal number
        number += 1
        waiting[number] = ticket(number, name, deadline=dice.uniform(1, 50), cost_s=dice.uniform(0.1, most))
        queue.push(waiting[number])

    work = Counter[str]()
    for name in always * 3:
        push(name)
    for _ in range(1_500):
        action = dice.random()
        if action < 0.45:
            push(dice.choice(names))
        elif action < 0.6 and len(waiting) > 10:
            one = dice.choice(list(waiting.values()))
            if sum(other.request.caller.id == one.request.caller.id for other in waiting.values()) > 1:
                del waiting[one.id]
                queue.discard(one)
                one.state = RequestState.DONE
        elif len(waiting) > 6:
            one = queue.pop()  # type: ignore[assignment]
            assert waiting.pop(one.id) is one
            work[one.request.caller.id] += one.cost_s  # type: ignore[assignment]
            # Inside a caller's requests the earliest deadline goes first.
            rest = [other for other in waiting.values() if other.request.caller.id == one.request.caller.id]
            assert all(one.request.deadline <= other.request.deadline for other in rest)
            one.state = RequestState.DISPATCHED
            for name in always:
                if not any(other.request.caller.id == name for other in waiting.values()):
                    push(name)
        assert len(queue) == len(waiting)
        assert queue._cold.backlogged == len({one.request.caller.id for one in waiting.values()})
    drained = served(queue, len(waiting) + 1)
    assert {one.id for one in drained} == set(waiting)
    assert len(queue._cold) == 0


@pytest.mark.parametrize("seed", range(10))
def test_two_callers_who_always_wait_get_the_same_within_a_lead_and_two_requests(seed: int) -> None:
    dice = random.Random(seed)
    queue = VariantQueue("v")
    number = 0
    work = {"a": 0.0, "b": 0.0}
    most = COST_S
    for _ in range(500):
        for name in work:
            number += 1
            # The one is always more urgent than the other.
            queue.push(
                ticket(number, name, deadline=1.0 if name == "a" else 99.0, cost_s=dice.uniform(0.1, 1.0) * most)
            )
    for _ in range(600):
        (one,) = served(queue, 1)
        work[one.request.caller.id] += one.cost_s
        assert abs(work["a"] - work["b"]) <= (2 * LEAD_REQUESTS + 2) * most


def test_memory_follows_who_waits_and_not_who_came() -> None:
    queue = VariantQueue("v")
    queue.push(ticket(0, "stays", deadline=1e9))
    queue.push(ticket(1, "stays", deadline=1e9))
    for number in range(2, 20_000):
        queue.push(ticket(number, f"c{number}", deadline=float(number)))
        one = queue.pop()
        assert one is not None
        if one.request.caller.id == "stays":
            queue.push(ticket(number + 10**6, "stays", deadline=1e9))
    fair: FairQueue = queue._cold
    held = len(fair) + len(fair._flows) + len(fair._eligible) + len(fair._ahead) + len(queue._arrivals)
    assert held < 1_500
