"""The queue of one variant: hot before cold, inside each a fair share for each caller, then the earliest deadline.

A ticket that leaves early (expired, cancelled, reassigned) is only marked; its entry is dropped when it surfaces
or when such entries outnumber the living, so leaving costs nothing and memory stays in step with the living.
"""

from __future__ import annotations

from collections import deque
from itertools import chain, islice

from services.router.queueing.fair_queue import FairQueue
from services.router.requests.request import PendingRequest, RequestState

# What waits in one class of a queue, by deadline, so that a newcomer learns how much stands before it.


BUCKET_S = 0.25
MOST_BUCKETS = 48


class DeadlineHistogram:
    """Counts of items and tokens in buckets of a quarter of a second of deadline."""

    __slots__ = ("_buckets", "items", "tokens")

    def __init__(self) -> None:
        self._buckets: dict[int, list[int]] = {}
        self.items = 0
        self.tokens = 0

    def add(self, deadline: float, tokens: int) -> None:
        """A request of `tokens` waits until `deadline` (seconds)."""
        self.items += 1
        self.tokens += tokens
        number = int(deadline / BUCKET_S)
        bucket = self._buckets.get(number)
        if bucket is None:
            self._buckets[number] = [1, tokens]
        else:
            bucket[0] += 1
            bucket[1] += tokens

    def remove(self, deadline: float, tokens: int) -> None:
        """A request that was added waits no more."""
        self.items -= 1
        self.tokens -= tokens
        number = int(deadline / BUCKET_S)
        bucket = self._buckets[number]
        bucket[0] -= 1
        bucket[1] -= tokens
        if not bucket[0]:
            del self._buckets[number]

    def ahead_of(self, deadline: float) -> int:
        """Tokens that are served before a newcomer with `deadline`: those whose deadline is not later.

        Never less than that; everything, when deadlines are so scattered that looking would cost more than it tells.
        """
        if not self.items or len(self._buckets) > MOST_BUCKETS:
            return self.tokens
        last = int(deadline / BUCKET_S)
        return sum(bucket[1] for number, bucket in self._buckets.items() if number <= last)


_SLACK = 64
# While cold work ages, one place in so many is its own.
COLD_PLACE = 16


class VariantQueue:
    """Tickets that wait for one variant. `suspects` have been on a worker that died and travel alone.

    `skips` counts the batches in a row that a worker took from another queue, for hot work's sake; `cost_s` is
    what admission counted for all that waits, in seconds of a device.
    """

    __slots__ = (
        "_arrivals",
        "_cold",
        "_hot",
        "_hot_in_a_row",
        "cold",
        "cost_s",
        "hot",
        "skips",
        "suspects",
        "variant_id",
    )

    def __init__(self, variant_id: str) -> None:
        self.variant_id = variant_id
        self.hot = DeadlineHistogram()
        self.cold = DeadlineHistogram()
        self.suspects: deque[PendingRequest] = deque()
        self.skips = 0
        self.cost_s = 0.0
        self._hot = FairQueue(self._waits_here)
        self._cold = FairQueue(self._waits_here)
        self._arrivals: deque[PendingRequest] = deque()
        self._hot_in_a_row = 0

    def __len__(self) -> int:
        return self.hot.items + self.cold.items

    @property
    def tokens_each(self) -> float:
        """The mean length of what waits, in tokens."""
        return (self.hot.tokens + self.cold.tokens) / max(1, len(self))

    def push(self, ticket: PendingRequest) -> None:
        """Add a waiting ticket; it belongs to this queue until popped or discarded."""
        self._enter(ticket)
        if ticket.suspect:
            self.suspects.append(ticket)
        elif ticket.hot:
            self._hot.push(ticket)
        else:
            self._cold.push(ticket)
            self._arrivals.append(ticket)
            if len(self._arrivals) > _SLACK:
                self._trim()

    def put_back(self, ticket: PendingRequest) -> None:
        """The ticket that was popped last does not fit; it waits on, as old as it was."""
        self._enter(ticket)
        (self._hot if ticket.hot else self._cold).push(ticket, refund=True)

    def discard(self, ticket: PendingRequest) -> None:
        """Forget a ticket that waits here. The caller has set, or sets at once, what becomes of it."""
        self._leave(ticket)
        if ticket.suspect:
            self.suspects.remove(ticket)
        else:
            (self._hot if ticket.hot else self._cold).leave(ticket)
            self._trim()

    def pop(self, *, ages: bool = False) -> PendingRequest | None:
        """The next ticket that is not a suspect, or None.

        When cold work `ages`, each sixteenth is the cold ticket that has waited longest, however much is hot.
        """
        if ages and self._hot_in_a_row >= COLD_PLACE - 1 and (oldest := self._oldest_cold()) is not None:
            self._hot_in_a_row = 0
            return self._serve(oldest)
        for queue in (self._hot, self._cold):
            ticket = queue.head()
            if ticket is not None:
                self._hot_in_a_row = self._hot_in_a_row + 1 if ticket.hot and self._cold.items else 0
                return self._serve(ticket)
        self._arrivals.clear()
        return None

    def pop_suspect(self) -> PendingRequest | None:
        """The suspect that has waited longest, or None."""
        if not self.suspects:
            return None
        ticket = self.suspects[0]
        self.discard(ticket)
        return ticket

    def head(self, *, suspects: bool = True) -> tuple[bool, float] | None:
        """Sorts before the head of another queue that should be served later; None when nothing waits.

        `suspects` says whether they count, who come after everybody else.
        """
        for queue in (self._hot, self._cold):
            ticket = queue.head()
            if ticket is not None:
                return not ticket.hot, ticket.request.deadline
        if suspects and self.suspects:
            return not self.suspects[0].hot, self.suspects[0].request.deadline
        return None

    def oldest_cold_at(self) -> float:
        """When the cold ticket that has waited longest came, in seconds; infinity when none waits."""
        oldest = self._oldest_cold()
        return oldest.enqueued_at if oldest is not None else float("inf")

    def some(self, count: int) -> list[PendingRequest]:
        """Up to `count` tickets that wait here and are no suspects, hot ones first; they go on waiting."""
        return list(islice(dict.fromkeys(chain(self._hot.tickets(), self._cold.tickets())), count))

    def ahead_of(self, deadline: float, *, hot: bool, caller: str) -> int:
        """Tokens of its own class that are served before a newcomer of `caller` with `deadline`."""
        backlog, queue = (self.hot, self._hot) if hot else (self.cold, self._cold)
        due_earlier = backlog.ahead_of(deadline)
        if not due_earlier or (queue.backlogged < 2 and not caller):
            return due_earlier
        return queue.work_ahead(caller, due_earlier=due_earlier, mean=backlog.tokens / backlog.items)

    def callers(self, *, hot: bool) -> int:
        """How many callers have something waiting in one class."""
        return (self._hot if hot else self._cold).backlogged

    def cost_of(self, caller: str, *, hot: bool) -> float:
        """What admission counted for what `caller` has waiting in one class."""
        return (self._hot if hot else self._cold).cost_of(caller)

    def take_all(self) -> list[PendingRequest]:
        """Empty the queue; the tickets still wait and want a new place."""
        # A ticket that left and came again has two entries.
        living = dict.fromkeys(chain(self._hot.tickets(), self._cold.tickets()))
        tickets = [*self.suspects, *living]
        for ticket in tickets:
            self._leave(ticket)
        self.suspects.clear()
        self._hot.clear()
        self._cold.clear()
        self._arrivals.clear()
        return tickets

    def _serve(self, ticket: PendingRequest) -> PendingRequest:
        self._leave(ticket)
        (self._hot if ticket.hot else self._cold).leave(ticket, served=True)
        return ticket

    def _enter(self, ticket: PendingRequest) -> None:
        ticket.variant_id = self.variant_id
        ticket.state = RequestState.WAITING
        self.cost_s += ticket.cost_s
        (self.hot if ticket.hot else self.cold).add(ticket.request.deadline, ticket.tokens)

    def _leave(self, ticket: PendingRequest) -> None:
        ticket.variant_id = ""
        (self.hot if ticket.hot else self.cold).remove(ticket.request.deadline, ticket.tokens)
        # Sums of fractions drift; an empty queue has no cost.
        self.cost_s = self.cost_s - ticket.cost_s if self.hot.items or self.cold.items else 0.0

    def _waits_here(self, ticket: PendingRequest) -> bool:
        return ticket.variant_id == self.variant_id and ticket.state is RequestState.WAITING

    def _oldest_cold(self) -> PendingRequest | None:
        arrivals = self._arrivals
        while arrivals and not self._waits_here(arrivals[0]):
            arrivals.popleft()
        return arrivals[0] if arrivals else None

    def _trim(self) -> None:
        if len(self._arrivals) > 3 * len(self) + _SLACK:
            self._arrivals = deque(ticket for ticket in self._arrivals if self._waits_here(ticket))
