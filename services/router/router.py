"""The router's core: the life of a request from admission to its one outcome.

It runs on one event loop and never waits: a request is a ticket that waits in a queue or travels in a batch, and
every event (an answer, a deadline, a departure, a worker's death) finds the ticket where it is and moves it on.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Mapping

from services.router.admission import Admission
from services.router.assignment import Assignment
from services.router.batch import OpenBatch
from services.router.config import RouterConfig
from services.router.deadline_watch import DeadlineWatch
from services.router.dispatcher import Dispatcher
from services.router.fleet_view import FleetView
from services.router.ledger import Ledger
from services.router.placement import Placement
from services.router.request import Answer, OnDone, Outcome, Request, Ticket, TicketState
from services.router.settlement import Settlement
from services.router.validation import validate
from services.router.waiting_room import WaitingRoom
from services.router.worker_link import WorkerLink
from services.router.worker_pool import WorkerPool
from sluice.directive import DirectiveState
from sluice.errors import Cancelled, Expired, NoEndpoint, ShuttingDown, SluiceError, WorkerFailed
from sluice.telemetry import Tracing, trace_id_of
from sluice.v1 import worker_service_pb2 as worker_pb2
from sluice.variant import Variant

MAX_ATTEMPTS = 2

logger = logging.getLogger(__name__)


class Router:
    """Admits, assigns, queues, dispatches and answers. Use from one event loop only."""

    def __init__(
        self,
        config: RouterConfig,
        *,
        tracing: Tracing,
        directives: DirectiveState,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.ledger = Ledger(clock=clock)
        self.pool = WorkerPool(self, clock=clock)
        self.changed = asyncio.Event()
        self.dispatcher = Dispatcher(
            max_batch_size=config.max_batch_size,
            batch_timeout_s=config.batch_timeout_ms / 1000,
            gather_s=config.batch_gather_ms / 1000,
            open_requests=lambda: self.open_requests,
            links=self.pool.links,
            tracing=tracing,
            clock=clock,
        )
        self._placement = Placement(
            default_model=config.default_model, backlog=lambda name: len(self.dispatcher.queue(name))
        )
        self._clock = clock
        self._directives = directives
        self._admission = Admission(max_requests=config.max_open_requests, max_bytes=config.max_open_bytes)
        self._deadlines = DeadlineWatch(self._expire, clock=clock)
        self._settlement = Settlement(finish=self._finish, retry=self._retry, ledger=self.ledger, clock=clock)
        self._waiting_room = WaitingRoom(self._give_up, grace_s=config.endpoint_grace_s)
        self._numbers = itertools.count(1)
        self._draining = False
        self._all_done = asyncio.Event()
        self._all_done.set()

    # What the faces ask.

    def submit(self, request: Request, on_done: OnDone) -> Ticket:
        """Admit and assign `request`; `on_done` is called once with its outcome, later and on the loop.

        Raises the SluiceError that refuses it; `on_done` is then never called.
        """
        hot = request.priority >= self.config.priority_threshold
        try:
            return self._admit(request, on_done, hot=hot)
        except SluiceError as error:
            self.ledger.count(request.model, "", error.reason, "hot" if hot else "cold")
            raise

    async def infer(self, request: Request) -> Answer:
        """Answer `request`. Raises SluiceError; cancelling the caller cancels the request, at the worker too."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        ticket = self.submit(request, lambda outcome: _resolve(future, outcome))
        try:
            outcome = await future
        except asyncio.CancelledError:
            self.cancel(ticket)
            raise
        if isinstance(outcome, SluiceError):
            raise outcome
        return outcome

    def cancel(self, ticket: Ticket) -> None:
        """The caller no longer wants the answer. Nothing happens if the ticket is done."""
        if ticket.state is TicketState.DONE:
            return
        if ticket.state is TicketState.DISPATCHED:
            for link in self.pool.links():
                if any(ticket.id in batch.tickets for batch in link.open.values()):
                    link.cancel(ticket)
        ticket.on_done = lambda _: None
        self._finish(ticket, Cancelled("the caller cancelled"))

    def why_not_generate(self, model: str) -> SluiceError:
        """Why `model` (empty: the default) writes no text; no worker of this release holds one that does.

        Raises NoEndpoint or UnknownModel when nobody serves it at all.
        """
        return self._placement.why_not_generate(model)

    def models(self) -> Mapping[str, tuple[Variant, ...]]:
        """The variants that are served now, by model."""
        return self.view.models()

    @property
    def view(self) -> FleetView:
        """Who serves what now."""
        return self._placement.view

    @property
    def ready(self) -> bool:
        """Whether new requests are welcome: something is served, and no known worker is still being dialled first."""
        return not self._draining and bool(self.view.serving) and self.pool.all_tried

    @property
    def draining(self) -> bool:
        """Whether nothing new is taken any more."""
        return self._draining

    @property
    def open_requests(self) -> int:
        """Requests admitted and not ended."""
        return self._admission.requests

    async def drain(self) -> None:
        """Refuse what is new and wait until everything open has ended."""
        self._draining = True
        self.changed.set()
        await self._all_done.wait()

    # From the request to its queue.

    def _admit(self, request: Request, on_done: OnDone, *, hot: bool) -> Ticket:
        if self._draining:
            raise ShuttingDown("this router is shutting down")
        now = self._clock()
        validate(request, max_text_bytes=self.config.max_text_bytes, now=now)
        assignment = self._placement.place(request)
        ticket = Ticket(next(self._numbers), request, on_done, hot=hot, now=now)
        self._admission.admit(ticket.size, hot=hot)
        self._all_done.clear()
        self._deadlines.add(ticket)
        self._enqueue(ticket, assignment)
        return ticket

    def _enqueue(self, ticket: Ticket, assignment: Assignment) -> None:
        ticket.degraded_from = assignment.degraded_from
        ticket.levels = self._directives.levels
        self.dispatcher.enqueue(ticket, assignment.variant_id)

    def _reassign(self, ticket: Ticket) -> None:
        try:
            assignment = self._placement.place(ticket.request)
        except NoEndpoint:
            self._waiting_room.enter(ticket)
        except SluiceError as error:
            self._finish(ticket, error)
        else:
            self._enqueue(ticket, assignment)

    # From any event to the outcome.

    def _finish(self, ticket: Ticket, outcome: Outcome, tier: str = "") -> None:
        if ticket.state is TicketState.DONE:
            return
        if ticket.state is TicketState.WAITING and ticket.variant_id:
            self.dispatcher.leave(ticket)
        ticket.state = TicketState.DONE
        self._waiting_room.leave(ticket)
        self._deadlines.discard(ticket)
        self._admission.release(ticket.size)
        if not self._admission.requests:
            self._all_done.set()
        if isinstance(outcome, WorkerFailed):
            trace_id = trace_id_of(ticket.request.traceparent)
            logger.error("request failed", extra={"trace_id": trace_id, "why": outcome.message})
        name = outcome.reason.value if isinstance(outcome, SluiceError) else "ok"
        self.ledger.count(ticket.request.model, tier, name, ticket.pool)
        ticket.tell(outcome)

    def _expire(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            self._finish(ticket, Expired("the deadline passed before an answer came"))

    def _give_up(self, ticket: Ticket) -> None:
        self._finish(ticket, NoEndpoint(f"the workers that served '{ticket.request.model}' have gone"))

    def _retry(self, ticket: Ticket, why: str) -> None:
        if ticket.state is TicketState.DONE:
            return
        ticket.state = TicketState.WAITING
        if ticket.attempts >= MAX_ATTEMPTS:
            self._finish(ticket, WorkerFailed(f"two workers failed on this request, the last one so: {why}"))
        else:
            self._reassign(ticket)

    # What the links tell.

    def link_changed(self, link: WorkerLink) -> None:
        """A worker came, went or holds other variants: see who is served now, and re-place what has lost its place."""
        del link
        held = [one.variants.values() for one in self.pool.links() if one.up and not one.draining]
        self._placement.update(held)
        for ticket in (*self.dispatcher.stranded(self.view.variants), *self._waiting_room.call_all()):
            self._reassign(ticket)
        self.changed.set()

    def link_has_credit(self, link: WorkerLink) -> None:
        """A worker can take a batch."""
        self.dispatcher.credit_came(link)

    def link_answered(
        self, link: WorkerLink, batch: OpenBatch, result: worker_pb2.BatchResult, compute_s: float
    ) -> None:
        """A batch has come back: each of its tickets that is still open gets its outcome."""
        variant = link.described[batch.variant_id]
        self._settlement.settle(batch, result, variant=variant, worker=link.worker, compute_s=compute_s)

    def link_lost(self, link: WorkerLink, batches: Iterable[OpenBatch], why: str) -> None:
        """A worker took batches and will not answer them: their tickets get one more try."""
        self._settlement.void(batches, worker=link.worker, why=why)


def _resolve(future: asyncio.Future[Outcome], outcome: Outcome) -> None:
    # A caller who has just gone away has cancelled the future, and learns of it only in the loop's next turn.
    if not future.done():
        future.set_result(outcome)
