"""The ends of requests: whatever becomes of a ticket, it becomes of it once, and everything that held it lets go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from services.router.admission.controller import AdmissionController
from services.router.dispatch.dispatcher import Dispatcher
from services.router.observability.stats import OK, RequestStats
from services.router.requests.deadlines import DeadlineTimer
from services.router.requests.request import GenerationResult, Outcome, PendingRequest, RequestState
from sluice.domain.errors import Expired, InvalidRequest, NoEndpoint, SluiceError, WorkerFailed
from sluice.runtime.tracing import trace_id_of

logger = logging.getLogger(__name__)


# Where admitted requests wait when the last worker that could serve them has just gone: it is often back at once.
#
# New requests are refused meanwhile; those in here were promised an answer, so they get a short grace before they
# fail.


class UnroutableQueue:
    """Tickets without a place. After `grace_s` they are given to `give_up`, unless they were called or have ended."""

    def __init__(self, give_up: Callable[[PendingRequest], None], *, grace_s: float) -> None:
        self._give_up = give_up
        self._grace_s = grace_s
        self._tickets: dict[int, tuple[PendingRequest, asyncio.TimerHandle]] = {}

    def enter(self, ticket: PendingRequest) -> None:
        """Let `ticket` wait for a place."""
        timer = asyncio.get_running_loop().call_later(self._grace_s, self._time_is_up, ticket)
        self._tickets[ticket.id] = ticket, timer

    def leave(self, ticket: PendingRequest) -> None:
        """The ticket has ended."""
        if not self._tickets:
            return
        _, timer = self._tickets.pop(ticket.id, (ticket, None))
        if timer is not None:
            timer.cancel()

    def call_all(self) -> Iterable[PendingRequest]:
        """Empty the room: there may be a place for everybody now."""
        waiting, self._tickets = list(self._tickets.values()), {}
        for _, timer in waiting:
            timer.cancel()
        return [ticket for ticket, _ in waiting]

    def _time_is_up(self, ticket: PendingRequest) -> None:
        del self._tickets[ticket.id]
        self._give_up(ticket)


class RequestTracker:
    """Holds every open ticket to its deadline. `unroutable` is for those that have no worker just now."""

    def __init__(
        self,
        *,
        admission: AdmissionController,
        dispatcher: Dispatcher,
        ledger: RequestStats,
        endpoint_grace_s: float,
        clock: Callable[[], float],
    ) -> None:
        self.unroutable = UnroutableQueue(self._give_up, grace_s=endpoint_grace_s)
        self.all_done = asyncio.Event()
        self.all_done.set()
        self._admission = admission
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._clock = clock
        self._deadlines = DeadlineTimer(self._expire, clock=clock)

    def open(self, ticket: PendingRequest) -> None:
        """The ticket has been admitted; `finish` is called for it, by its deadline at the latest."""
        self.all_done.clear()
        self._deadlines.add(ticket)

    def finish(self, ticket: PendingRequest, outcome: Outcome | GenerationResult, tier: str = "") -> None:
        """The ticket ends so, answered by `tier` if that is not empty. Nothing happens if it has ended before."""
        if ticket.state is RequestState.DONE:
            return
        if ticket.state is RequestState.WAITING and ticket.variant_id:
            self._dispatcher.leave(ticket)
        ticket.state = RequestState.DONE
        self.unroutable.leave(ticket)
        self._deadlines.discard(ticket)
        request, name = ticket.request, OK
        if not self._admission.release(ticket.size, caller=request.caller.id, model=request.model):
            self.all_done.set()
        if isinstance(outcome, SluiceError):
            name = outcome.reason.value
            if isinstance(outcome, WorkerFailed):
                trace_id = trace_id_of(request.traceparent)
                logger.error("request failed", extra={"trace_id": trace_id, "why": outcome.message})
        self._ledger.count(request.model, tier, name, ticket.pool)
        ticket.tell(outcome)

    def too_large(self, ticket: PendingRequest, most: int) -> None:
        """The ticket ends because its worker takes messages of at most `most` bytes."""
        problem = f"the text has {ticket.text_bytes} bytes, and the worker takes messages of {most}"
        self.finish(ticket, InvalidRequest(problem, field="text"))

    def end_all(self, error: Callable[[], SluiceError]) -> None:
        """Everything that is open ends with an error of its own."""
        for ticket in self._deadlines.open_tickets():
            self.finish(ticket, error())

    def _expire(self, tickets: Iterable[PendingRequest]) -> None:
        for ticket in tickets:
            self.finish(ticket, Expired("the deadline passed before an answer came"))

    def _give_up(self, ticket: PendingRequest) -> None:
        self.finish(ticket, NoEndpoint(f"the workers that served '{ticket.request.model}' have gone"))
