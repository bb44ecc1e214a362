"""Where requests wait that have no worker just now, and the one timer that ends whatever waits too long.

All of it in virtual time: a sleep ends exactly when it should, however busy the machine is.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable, Iterable

import pytest

from services.router.lifecycle.completion import UnroutableQueue
from services.router.requests.deadlines import DeadlineTimer
from services.router.requests.request import PendingRequest, Request
from tests.simulation import virtual_time
from tests.unit.polling import until


def in_virtual_time(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Run an asynchronous test on a loop of its own whose clock jumps."""

    async def main() -> None:
        await test()

    @functools.wraps(test)
    def run() -> None:
        virtual_time.run(main())

    del run.__wrapped__  # type: ignore[attr-defined]  pytest would take it for a coroutine
    return run


def ticket(number: int, deadline: float = 1e9) -> PendingRequest:
    request = Request(model="m", text="text", deadline=deadline)
    return PendingRequest(number, request, lambda outcome: None, hot=False, now=0.0)


@in_virtual_time
async def test_nobody_waits_for_ever_and_each_is_given_up_once() -> None:
    given_up: list[PendingRequest] = []
    room = UnroutableQueue(given_up.append, grace_s=0.01)
    tickets = [ticket(number) for number in range(3)]
    for one in tickets:
        room.enter(one)
    assert given_up == []
    await until(lambda: len(given_up) >= 3)
    await asyncio.sleep(0.02)
    assert sorted(one.id for one in given_up) == [0, 1, 2]
    assert list(room.call_all()) == []


@in_virtual_time
async def test_who_was_called_or_has_ended_is_not_given_up() -> None:
    given_up: list[PendingRequest] = []
    room = UnroutableQueue(given_up.append, grace_s=0.01)
    called, ended, stays = (ticket(number) for number in range(3))
    room.enter(called)
    assert list(room.call_all()) == [called]
    room.enter(ended)
    room.leave(ended)
    room.enter(stays)
    await until(lambda: bool(given_up))
    assert given_up == [stays]


@in_virtual_time
async def test_leaving_a_room_one_never_entered_does_nothing() -> None:
    room = UnroutableQueue(lambda one: None, grace_s=0.01)
    room.leave(ticket(1))
    assert list(room.call_all()) == []


@in_virtual_time
async def test_who_was_called_and_comes_again_has_the_whole_grace_again() -> None:
    now = asyncio.get_running_loop().time
    given_up_at: list[float] = []
    room = UnroutableQueue(lambda one: given_up_at.append(now()), grace_s=0.2)
    one = ticket(1)
    room.enter(one)
    await asyncio.sleep(0.15)
    room.call_all()
    entered_again_at = now()
    room.enter(one)
    await until(lambda: bool(given_up_at))
    assert given_up_at == [pytest.approx(entered_again_at + 0.2)]


class Watch:
    """A watch over the loop's time, and what it has ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[float, PendingRequest]] = []
        self.now = asyncio.get_running_loop().time
        self.watch = DeadlineTimer(self._expire, clock=self.now)

    def _expire(self, tickets: Iterable[PendingRequest]) -> None:
        for one in tickets:
            self.ended.append((self.now(), one))


@in_virtual_time
async def test_each_ticket_ends_after_its_deadline_and_never_before() -> None:
    seen = Watch()
    dice, start = random.Random(3), seen.now()
    tickets = [ticket(number, start + dice.uniform(0.0, 0.15)) for number in range(60)]
    for one in tickets:
        seen.watch.add(one)
    for one in tickets[::3]:
        seen.watch.discard(one)
    await until(lambda: len(seen.ended) >= 40)
    assert all(at >= one.request.deadline for at, one in seen.ended)
    assert sorted(one.id for _, one in seen.ended) == [n for n in range(60) if n % 3]


@in_virtual_time
async def test_a_nearer_deadline_that_comes_later_is_not_kept_waiting() -> None:
    seen = Watch()
    far, near = ticket(1, seen.now() + 3600), ticket(2, seen.now() + 0.02)
    seen.watch.add(far)
    seen.watch.add(near)
    await until(lambda: bool(seen.ended))
    assert [one for _, one in seen.ended] == [near]
    seen.watch.discard(far)


@in_virtual_time
async def test_the_watch_goes_on_after_everything_has_gone() -> None:
    seen = Watch()
    gone = ticket(1, seen.now() + 0.01)
    seen.watch.add(gone)
    seen.watch.discard(gone)
    await asyncio.sleep(0.03)
    later = ticket(2, seen.now() + 0.01)
    seen.watch.add(later)
    await until(lambda: bool(seen.ended))
    assert [one for _, one in seen.ended] == [later]
