"""Where admitted requests wait when the last worker that could serve them has just gone: it is often back at once.

New requests are refused meanwhile; those in here were promised an answer, so they get a short grace before they fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from services.router.requests.request import Ticket


class WaitingRoom:
    """Tickets without a place. After `grace_s` they are given to `give_up`, unless they were called or have ended."""

    def __init__(self, give_up: Callable[[Ticket], None], *, grace_s: float) -> None:
        self._give_up = give_up
        self._grace_s = grace_s
        self._tickets: dict[int, tuple[Ticket, asyncio.TimerHandle]] = {}

    def enter(self, ticket: Ticket) -> None:
        """Let `ticket` wait for a place."""
        timer = asyncio.get_running_loop().call_later(self._grace_s, self._time_is_up, ticket)
        self._tickets[ticket.id] = ticket, timer

    def leave(self, ticket: Ticket) -> None:
        """The ticket has ended."""
        if not self._tickets:
            return
        _, timer = self._tickets.pop(ticket.id, (ticket, None))
        if timer is not None:
            timer.cancel()

    def call_all(self) -> Iterable[Ticket]:
        """Empty the room: there may be a place for everybody now."""
        waiting, self._tickets = list(self._tickets.values()), {}
        for _, timer in waiting:
            timer.cancel()
        return [ticket for ticket, _ in waiting]

    def _time_is_up(self, ticket: Ticket) -> None:
        del self._tickets[ticket.id]
        self._give_up(ticket)
