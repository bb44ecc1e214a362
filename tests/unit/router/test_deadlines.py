"""The timing wheel of open requests."""

from __future__ import annotations

import random

from services.router.requests.deadlines import BUCKET_S, TimingWheel
from services.router.requests.request import PendingRequest, Request


def ticket(number: int, deadline: float) -> PendingRequest:
    return PendingRequest(
        number, Request(model="m", text="t", deadline=deadline), lambda outcome: None, hot=False, now=0.0
    )


def test_every_ticket_expires_once_never_early_and_at_most_a_bucket_late() -> None:
    dice = random.Random(7)
    deadlines = TimingWheel()
    tickets = {number: ticket(number, dice.uniform(0, 2)) for number in range(500)}
    for one in tickets.values():
        deadlines.add(one)
    kept = {number for number in tickets if dice.random() < 0.7}
    for number in tickets.keys() - kept:
        deadlines.discard(tickets[number])
    now, expired = 0.0, []
    while (at := deadlines.next_at()) is not None:
        assert at > now
        now = at
        for one in deadlines.expire(now):
            assert one.request.deadline <= now <= one.request.deadline + BUCKET_S + 1e-9
            expired.append(one.id)
    assert sorted(expired) == sorted(kept)
    assert len(deadlines) == 0


def test_adding_says_when_the_timer_must_ring_earlier() -> None:
    deadlines = TimingWheel()
    assert deadlines.add(ticket(1, 5.0))
    assert not deadlines.add(ticket(2, 6.0))
    assert deadlines.add(ticket(3, 1.0))
    assert not deadlines.add(ticket(4, 1.001))


def test_buckets_of_answered_requests_do_not_stay() -> None:
    deadlines = TimingWheel()
    for number in range(1_000):
        one = ticket(number, 10 + number / 10)
        deadlines.add(one)
        deadlines.discard(one)
    assert deadlines.next_at() is None
    assert not deadlines._buckets
