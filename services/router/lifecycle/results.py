"""Settlement: what a batch that came back, or was lost, means for each of its tickets. It decides, others carry out.

A failure of the worker's own making earns a ticket another try, and so does a worker that would not take it; a failure
of the item's own making is its outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from services.router.queueing.batch import OpenBatch
from services.router.requests.request import Outcome, Ticket, TicketState, answer_to
from sluice.domain.errors import NoEndpoint, ShuttingDown, WorkerFailed
from sluice.domain.status import from_item_status
from sluice.domain.variant import Variant
from sluice.v1 import worker_service_pb2 as worker_pb2

Finish = Callable[[Ticket, Outcome, str], None]
Retry = Callable[[Ticket, str, bool], None]


class Served(Protocol):
    """As AdmissionController has it."""

    def __call__(self, variant_id: str, cost: float, queue_s: float, *, requests: int) -> None:
        """Requests of a batch were answered, which cost and waited so much together."""


class Died(Protocol):
    """As SecondTries has it."""

    def __call__(self, ticket: Ticket, why: str, *, may_be_the_cause: bool, was_alone: bool) -> None:
        """A worker has died with the ticket in its hands."""


Refused = Callable[[Ticket, str], None]


class Settlement:
    """Gives every open ticket of a batch to `finish`, with its outcome and tier, to `retry`, `died` or `refused`.

    `retry` is told the cause, and whether the ticket may itself be the cause; `refused` why the worker did not begin;
    `died` is for what was on a worker that has gone.
    """

    def __init__(
        self,
        *,
        finish: Finish,
        retry: Retry,
        refused: Refused,
        died: Died,
        served: Served,
        clock: Callable[[], float],
    ) -> None:
        self._finish = finish
        self._retry = retry
        self._refused = refused
        self._died = died
        self._served = served
        self._clock = clock

    def settle(
        self, batch: OpenBatch, result: worker_pb2.BatchResult, *, variant: Variant, worker: str, compute_s: float
    ) -> None:
        """The worker answered; `result` names each ticket of the batch once."""
        tier = variant.tier.label
        batch_s = max(0.0, self._clock() - batch.sent_at - compute_s)
        _end_span(batch)
        tickets, cost_s, queue_s, answered = batch.tickets, 0.0, 0.0, 0
        for item in result.results:
            number = item.id
            ticket = tickets[number]
            if ticket.state is TicketState.DONE or ticket.id != number:
                # It has ended, or was taken to another worker under another number, because this one hung. The device's
                # time is spent all the same: where it is not counted, callers that give up make workers look slow.
                if item.HasField("classification") or item.HasField("embedding"):
                    cost_s += ticket.cost_s
                continue
            if item.HasField("classification") or item.HasField("embedding"):
                answer = answer_to(ticket, item, variant=variant, worker=worker, batch_s=batch_s, compute_s=compute_s)
                cost_s, queue_s, answered = cost_s + ticket.cost_s, queue_s + answer.queue_s, answered + 1
                self._finish(ticket, answer, tier)
            else:
                self._failed(ticket, item, tier)
        if cost_s:
            self._served(variant.id, cost_s, queue_s, requests=answered)

    def void(self, batches: Iterable[OpenBatch], *, worker: str, why: str) -> None:
        """The worker took the batches, in this order, and will not answer them. Only the first can have killed it."""
        for place, batch in enumerate(batches):
            _end_span(batch)
            for number, ticket in batch.tickets.items():
                if ticket.id == number:
                    self._died(ticket, f"{worker}: {why}", may_be_the_cause=place == 0, was_alone=batch.alone)

    def _failed(self, ticket: Ticket, item: worker_pb2.ItemResult, tier: str) -> None:
        if not item.HasField("status"):
            self._retry(ticket, "the worker sent no outcome", True)
            return
        error = from_item_status(item.status)
        if isinstance(error, WorkerFailed):
            self._retry(ticket, error.message, True)
        elif isinstance(error, NoEndpoint | ShuttingDown):
            self._refused(ticket, error.message)
        else:
            self._finish(ticket, error, tier)


def _end_span(batch: OpenBatch) -> None:
    if batch.span is not None:
        batch.span.end()
