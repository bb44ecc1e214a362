"""Ends requests whose deadline passes, wherever they are: one timer for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush

from services.router.requests.request import PendingRequest

# Deadlines of all open requests, in buckets of ten milliseconds: adding and removing cost a set operation each.
#
# A hashed timing wheel (Varghese and Lauck, 1987) without the wheel: buckets are made as they are needed.


BUCKET_S = 0.01


class TimingWheel:
    """Which tickets expire when. Holds a ticket from `add` until `discard` or `expire`."""

    def __init__(self) -> None:
        self._buckets: dict[int, set[PendingRequest]] = {}
        self._order: list[int] = []

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def add(self, ticket: PendingRequest) -> bool:
        """Watch `ticket`; returns whether its bucket is now the first to expire."""
        number = int(ticket.request.deadline / BUCKET_S)
        bucket = self._buckets.get(number)
        if bucket is not None:
            bucket.add(ticket)
            return False
        self._buckets[number] = {ticket}
        heappush(self._order, number)
        return self._order[0] == number

    def discard(self, ticket: PendingRequest) -> None:
        """Forget `ticket`."""
        bucket = self._buckets.get(int(ticket.request.deadline / BUCKET_S))
        if bucket is not None:
            bucket.discard(ticket)

    def tickets(self) -> list[PendingRequest]:
        """All that are watched, in no order."""
        return [ticket for bucket in self._buckets.values() for ticket in bucket]

    def next_at(self) -> float | None:
        """When to call `expire` next, in seconds of the deadlines' clock; None when nothing is watched."""
        while self._order and not self._buckets[self._order[0]]:
            del self._buckets[heappop(self._order)]
        return (self._order[0] + 1) * BUCKET_S if self._order else None

    def expire(self, now: float) -> list[PendingRequest]:
        """The tickets whose deadline has passed, at most one bucket late; they are no longer watched."""
        expired: list[PendingRequest] = []
        while self._order and (self._order[0] + 1) * BUCKET_S <= now:
            expired.extend(self._buckets.pop(heappop(self._order)))
        return expired


class DeadlineTimer:
    """Calls `expire` with the tickets whose deadline has passed, within two buckets' time of it.

    `discard` is for a ticket that is done.
    """

    def __init__(self, expire: Callable[[Iterable[PendingRequest]], None], *, clock: Callable[[], float]) -> None:
        self._expire = expire
        self._clock = clock
        self._deadlines = TimingWheel()
        self.discard = self._deadlines.discard
        self._timer: asyncio.TimerHandle | None = None

    def add(self, ticket: PendingRequest) -> None:
        """Watch `ticket` until its deadline or `discard`."""
        if self._deadlines.add(ticket):
            self._arm()

    def open_tickets(self) -> Sequence[PendingRequest]:
        """All that are watched."""
        return self._deadlines.tickets()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        next_at = self._deadlines.next_at()
        if next_at is not None:
            delay_s = max(0.0, next_at - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._expire(self._deadlines.expire(self._clock()))
        self._arm()
