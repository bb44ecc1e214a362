"""Ends requests whose deadline passes, wherever they are: one timer for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from services.router.deadlines import Deadlines
from services.router.requests.request import Ticket


class DeadlineWatch:
    """Calls `expire` with the tickets whose deadline has passed, within two buckets' time of it.

    `discard` is for a ticket that is done.
    """

    def __init__(self, expire: Callable[[Iterable[Ticket]], None], *, clock: Callable[[], float]) -> None:
        self._expire = expire
        self._clock = clock
        self._deadlines = Deadlines()
        self.discard = self._deadlines.discard
        self._timer: asyncio.TimerHandle | None = None

    def add(self, ticket: Ticket) -> None:
        """Watch `ticket` until its deadline or `discard`."""
        if self._deadlines.add(ticket):
            self._arm()

    def open_tickets(self) -> Sequence[Ticket]:
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
