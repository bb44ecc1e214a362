"""The waiting requests of one class of one variant: a fair share for each caller, and inside it the earliest deadline.

Callers are served by virtual time, which advances by the work done over the number of callers who wait (start-time fair
queueing, Goyal, Vin and Cheng, SIGCOMM 1996). Who has had no more than a fair share is eligible, and of those the one
with the earliest deadline goes first (after Stoica's and Abdel-Wahab's EEVDF, 1995). A lone caller is always eligible,
so that without contention the order is by deadline alone. Work is device-seconds, as admission counts it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush

from services.router.requests.request import PendingRequest

# A caller may be ahead of its fair share by the work of so many requests: what is taken for a batch need not alternate.
LEAD_REQUESTS = 1.0
MIN_COST_S = 1e-9
_SLACK = 64

Entry = tuple[float, int, PendingRequest]


class CallerQueue:
    """What one caller has waiting. `start` is the virtual time at which its next request is due."""

    __slots__ = ("cost_s", "heap", "is_eligible", "items", "start", "tokens")

    def __init__(self, start: float) -> None:
        self.start = start
        self.heap: list[Entry] = []
        self.items = 0
        self.tokens = 0
        self.cost_s = 0.0
        self.is_eligible = False


class FairQueue:
    """Tickets by caller. `waits` tells whether a ticket is still here; entries of those that left go when they surface.

    All operations are O(log n) in what waits and in the callers, amortised.
    """

    __slots__ = (
        "_ahead",
        "_eligible",
        "_entries",
        "_flows",
        "_lone",
        "_virtual",
        "_waits",
        "backlogged",
        "cost_s",
        "items",
    )

    def __init__(self, waits: Callable[[PendingRequest], bool]) -> None:
        self._waits = waits
        self._flows: dict[str, CallerQueue] = {}
        # Heads of eligible callers by deadline, and the others by the virtual time from which they are.
        self._eligible: list[tuple[float, int, CallerQueue]] = []
        self._ahead: list[tuple[float, int, CallerQueue]] = []
        # The only caller since the queue was empty: while there is no other, nobody need be lined up.
        self._lone: CallerQueue | None = None
        self._entries = 0
        self._virtual = 0.0
        self.backlogged = 0
        self.items = 0
        self.cost_s = 0.0

    def __len__(self) -> int:
        """Entries that are held, of tickets that have left too."""
        return self._entries

    def push(self, ticket: PendingRequest, *, refund: bool = False) -> None:
        """`ticket` waits from now on. `refund` takes back what it was charged when it was served last."""
        caller = ticket.request.caller.id
        flow = self._flows.get(caller)
        if flow is None:
            flow = self._flows[caller] = CallerQueue(self._virtual)
        is_new = not flow.items
        if refund and flow is not self._lone:
            flow.start -= max(MIN_COST_S, ticket.cost_s)
        if is_new:
            self.backlogged += 1
            self._entries -= len(flow.heap)
            flow.heap.clear()
            flow.start = max(flow.start, self._virtual)
        flow.items += 1
        flow.tokens += ticket.tokens
        flow.cost_s += ticket.cost_s
        self.items += 1
        self.cost_s += ticket.cost_s
        self._entries += 1
        heap = flow.heap
        before = None if is_new else heap[0]
        heappush(heap, (ticket.request.deadline, ticket.id, ticket))
        if is_new and self.items == 1:
            self._lone = flow
        elif self._lone is not flow:
            if self._lone is not None:
                lone, self._lone = self._lone, None
                self._line_up(lone)
            if is_new or refund:
                self._line_up(flow)
            elif flow.is_eligible and heap[0] is not before:
                heappush(self._eligible, (*heap[0][:2], flow))

    def leave(self, ticket: PendingRequest, *, served: bool = False) -> None:
        """`ticket`, which `waits` no longer, is gone; `served` charges its caller for it."""
        if self.items == 1:
            self.clear()
            return
        flow = self._flows[ticket.request.caller.id]
        cost_s = ticket.cost_s
        flow.items -= 1
        flow.tokens -= ticket.tokens
        flow.cost_s -= cost_s
        self.items -= 1
        self.cost_s -= cost_s
        if flow is self._lone:
            # While nobody else waits, the virtual time keeps up with the only caller: neither need be counted.
            if flow.heap[0][2] is ticket:
                heappop(flow.heap)
                self._entries -= 1
            if self._entries > self.items:
                self._surface(flow, was_served=served)
        else:
            if served:
                charge_s = max(MIN_COST_S, cost_s)
                flow.start += charge_s
                self._virtual += charge_s / self.backlogged
            if flow.items:
                self._surface(flow, was_served=served)
            else:
                # Sums of fractions drift; who has nothing waiting has no cost.
                flow.cost_s = 0.0
                self.backlogged -= 1
                flow.is_eligible = False
        if len(self._flows) > 2 * self.backlogged + _SLACK or self._entries > 3 * self.items + _SLACK:
            self.compact()

    def head(self) -> PendingRequest | None:
        """The ticket that is due next, which goes on waiting."""
        if self._lone is not None:
            return self._lone.heap[0][2]
        while self.items:
            self._promote()
            while self._eligible:
                deadline, number, flow = self._eligible[0]
                if flow.items and flow.is_eligible and flow.heap[0][:2] == (deadline, number):
                    return flow.heap[0][2]
                heappop(self._eligible)
            # Nobody is within a fair share: the virtual time has fallen behind, because callers left it.
            self._virtual = max(self._virtual, self._ahead[0][0])
        return None

    def tickets(self) -> Iterator[PendingRequest]:
        """All that wait, in no order; each once, but for those that left and came again."""
        return (one for flow in self._flows.values() for _, _, one in flow.heap if self._waits(one))

    def clear(self) -> None:
        """Forget everything: nobody waits, and who was ahead of whom ends with it."""
        self._lone = None
        self._flows.clear()
        self._eligible.clear()
        self._ahead.clear()
        self._entries = self.backlogged = self.items = 0
        self._virtual = self.cost_s = 0.0

    def compact(self) -> None:
        """Drop the entries of tickets that have left, and callers who wait for nothing and are owed nothing."""
        self._flows = {name: flow for name, flow in self._flows.items() if flow.items or flow.start > self._virtual}
        self._eligible.clear()
        self._ahead.clear()
        self._entries = 0
        for flow in self._flows.values():
            living = {one.id: (deadline, number, one) for deadline, number, one in flow.heap if self._waits(one)}
            flow.heap = list(living.values())
            heapify(flow.heap)
            self._entries += len(flow.heap)
            if flow.items and flow is not self._lone:
                self._line_up(flow)

    def work_ahead(self, caller: str, *, due_earlier: int, mean: float) -> int:
        """Tokens served before a newcomer of `caller` when so many are due earlier, `mean` of them a ticket.

        Others get no more before it than its caller has waiting, and a lead: a flood does not stand before it.
        """
        flow = self._flows.get(caller)
        own = flow.tokens if flow is not None else 0
        others = self.backlogged - (1 if own else 0)
        if not others:
            return due_earlier
        return min(due_earlier, int(own + others * (own + (1.0 + LEAD_REQUESTS) * mean)))

    def cost_of(self, caller: str) -> float:
        """Device-seconds that `caller` has waiting."""
        flow = self._flows.get(caller)
        return flow.cost_s if flow is not None else 0.0

    def _lead_s(self) -> float:
        return LEAD_REQUESTS * max(MIN_COST_S, self.cost_s / self.items)

    def _line_up(self, flow: CallerQueue) -> None:
        """Enter a caller with its present head, among those who are eligible or those who are not yet."""
        flow.is_eligible = flow.start <= self._virtual + self._lead_s()
        deadline, number, _ = flow.heap[0]
        if flow.is_eligible:
            heappush(self._eligible, (deadline, number, flow))
        else:
            heappush(self._ahead, (flow.start, number, flow))

    def _surface(self, flow: CallerQueue, *, was_served: bool) -> None:
        """Bring a caller's first ticket that still waits to the top, and enter the caller with it."""
        heap = flow.heap
        before = heap[0]
        while not self._waits(heap[0][2]):
            heappop(heap)
            self._entries -= 1
        if flow is self._lone:
            return
        if was_served:
            self._line_up(flow)
        elif flow.is_eligible and heap[0] is not before:
            heappush(self._eligible, (*heap[0][:2], flow))

    def _promote(self) -> None:
        limit = self._virtual + self._lead_s()
        ahead = self._ahead
        while ahead and ahead[0][0] <= limit:
            start, _, flow = heappop(ahead)
            if flow.items and not flow.is_eligible and flow.start == start:
                self._line_up(flow)
