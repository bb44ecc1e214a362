"""The queue of one variant: hot before cold, earliest deadline first inside, departed requests never returned.

A ticket that leaves early (expired, cancelled, reassigned) is only marked; its entry is dropped when it surfaces
or when such entries outnumber the living, so leaving costs nothing and memory stays in step with the living.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush

from services.router.request import Ticket, TicketState

_SLACK = 64
Entry = tuple[float, int, Ticket]


class VariantQueue:
    """Tickets that wait for one variant. `suspects` have been on a worker that died and travel alone."""

    __slots__ = ("_arrivals", "_cold", "_hot", "cold_count", "hot_count", "suspects", "variant_id")

    def __init__(self, variant_id: str) -> None:
        self.variant_id = variant_id
        self.hot_count = 0
        self.cold_count = 0
        self.suspects: deque[Ticket] = deque()
        self._hot: list[Entry] = []
        self._cold: list[Entry] = []
        self._arrivals: deque[Ticket] = deque()

    def __len__(self) -> int:
        return self.hot_count + self.cold_count

    def push(self, ticket: Ticket) -> None:
        """Add a waiting ticket; it belongs to this queue until popped or discarded."""
        ticket.variant_id = self.variant_id
        ticket.state = TicketState.WAITING
        if ticket.hot:
            self.hot_count += 1
        else:
            self.cold_count += 1
        if ticket.attempts:
            self.suspects.append(ticket)
            return
        heappush(self._hot if ticket.hot else self._cold, (ticket.request.deadline, ticket.id, ticket))
        if not ticket.hot:
            self._arrivals.append(ticket)
            self._trim()

    def discard(self, ticket: Ticket) -> None:
        """Forget a ticket that waits here. The caller has set, or sets at once, what becomes of it."""
        ticket.variant_id = ""
        if ticket.hot:
            self.hot_count -= 1
        else:
            self.cold_count -= 1
        if ticket.attempts:
            self.suspects.remove(ticket)
        else:
            self._trim()

    def pop(self) -> Ticket | None:
        """The next ticket that is not a suspect, or None."""
        for heap in (self._hot, self._cold):
            while heap:
                ticket = heappop(heap)[2]
                if self._waits_here(ticket):
                    if ticket.hot:
                        self.hot_count -= 1
                    else:
                        self.cold_count -= 1
                    ticket.variant_id = ""
                    return ticket
        self._arrivals.clear()
        return None

    def pop_suspect(self) -> Ticket | None:
        """The suspect that has waited longest, or None."""
        if not self.suspects:
            return None
        ticket = self.suspects[0]
        self.discard(ticket)
        return ticket

    def head(self) -> tuple[bool, float] | None:
        """Sorts before the head of another queue that should be served later; None when nothing waits."""
        for cold, heap in ((False, self._hot), (True, self._cold)):
            while heap and not self._waits_here(heap[0][2]):
                heappop(heap)
            if heap:
                return cold, heap[0][0]
        if self.suspects:
            return not self.suspects[0].hot, self.suspects[0].request.deadline
        return None

    def oldest_cold_at(self) -> float:
        """When the cold ticket that has waited longest came, in seconds; infinity when none waits."""
        arrivals = self._arrivals
        while arrivals and not self._waits_here(arrivals[0]):
            arrivals.popleft()
        return arrivals[0].enqueued_at if arrivals else float("inf")

    def take_all(self) -> list[Ticket]:
        """Empty the queue; the tickets still wait and want a new place."""
        entries = [*self._hot, *self._cold]
        tickets = [*self.suspects, *(ticket for _, _, ticket in entries if self._waits_here(ticket))]
        for ticket in tickets:
            ticket.variant_id = ""
        self.suspects.clear()
        self._compact()
        self.hot_count = self.cold_count = 0
        return tickets

    def _waits_here(self, ticket: Ticket) -> bool:
        return ticket.variant_id == self.variant_id and ticket.state is TicketState.WAITING

    def _trim(self) -> None:
        if len(self._hot) + len(self._cold) + len(self._arrivals) > 3 * len(self) + _SLACK:
            self._compact()

    def _compact(self) -> None:
        for heap in (self._hot, self._cold):
            heap[:] = [entry for entry in heap if self._waits_here(entry[2])]
            heapify(heap)
        self._arrivals = deque(ticket for ticket in self._arrivals if self._waits_here(ticket))
