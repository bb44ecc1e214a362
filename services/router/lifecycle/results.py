"""Settlement: what a batch that came back, or was lost, means for each of its tickets. It decides, others carry out.

A failure of the worker's own making earns a ticket another try, and so does a worker that would not take it; a failure
of the item's own making is its outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from services.router.admission.controller import AdmissionController
from services.router.lifecycle.completion import RequestTracker
from services.router.lifecycle.retry import RetryPolicy
from services.router.observability.stats import RequestStats
from services.router.queueing.batch import InFlightBatch
from services.router.requests.generation import PendingGeneration
from services.router.requests.request import GenerationResult, Outcome, PendingRequest, RequestState, build_result
from services.router.workers.client import WorkerClient
from services.router.workers.generation_usage import GenerationCostModel
from services.router.workers.lone_try import CLEARED_TOKENS
from sluice.domain.errors import NoEndpoint, ShuttingDown, SluiceError, WorkerFailed, WorkerLost
from sluice.domain.status import from_item_status
from sluice.domain.variant import Variant
from sluice.v1 import worker_service_pb2 as worker_pb2

# Settlement of texts: what each piece that a worker sends, and its death, means for the text that it belongs to.
#
# Before its first token a text is like any item: a failure of the worker's own making earns it another try, alone, as
# it may be the cause. After that its caller holds a part of it that no other worker would continue, so it ends, and
# says after how many tokens.


TOKENS_KEY = "tokens"


class GenerationResultHandler:
    """Moves open texts on, and gives them their ends or second tries."""

    def __init__(
        self,
        *,
        admission: AdmissionController,
        endings: RequestTracker,
        retry_policy: RetryPolicy,
        ledger: RequestStats,
        costs: GenerationCostModel,
        waiting: Callable[[str], int],
        clock: Callable[[], float],
    ) -> None:
        self._admission = admission
        self._endings = endings
        self._second_tries = retry_policy
        self._ledger = ledger
        self._costs = costs
        self._waiting = waiting
        self._clock = clock

    def hear(self, link: WorkerClient, pieces: Iterable[worker_pb2.GenerationPiece]) -> None:
        """The worker wrote. Pieces of texts that have ended here count for its account alone."""
        now = self._clock()
        # While anything is written, a second of the device is served in a second.
        self._admission.generated(link.address, link.texts.served_s(now))
        for piece in pieces:
            ticket = link.texts.open.get(piece.id)
            if ticket is not None:
                self._hear(link, ticket, piece, now)

    def void(self, tickets: Iterable[PendingGeneration], why: str) -> None:
        """The worker that had these texts is gone."""
        for ticket in tickets:
            if ticket.state is RequestState.DONE:
                continue
            was_alone = ticket.suspect and ticket.written < CLEARED_TOKENS
            if ticket.written:
                if was_alone:
                    self._second_tries.confirm(ticket)
                self._endings.finish(ticket, _lost(ticket, why))
            else:
                why_lost = f"{ticket.worker}: {why}"
                self._second_tries.on_worker_death(ticket, why_lost, may_be_the_cause=True, was_alone=was_alone)

    def _hear(
        self, link: WorkerClient, ticket: PendingGeneration, piece: worker_pb2.GenerationPiece, now: float
    ) -> None:
        if ticket.begun_at is None:
            link.texts.begin(ticket, now)
            if not piece.HasField("status"):
                self._admission.waited(_writer_of(ticket).id, now - ticket.enqueued_at)
        is_last = bool(piece.finish_reason) or piece.HasField("status")
        if is_last:
            self._account_for(link, ticket, piece, now)
        if ticket.state is RequestState.DONE:
            return
        ticket.prompt_tokens = piece.prompt_tokens
        if piece.tokens > ticket.written or piece.text:
            if ticket.first_token_at is None:
                ticket.first_token_at = now
            # A failure may name no tokens beside the last of the text.
            ticket.written = max(ticket.written, piece.tokens)
            ticket.outlet.put(piece.text, ticket.written)
            if ticket.suspect and ticket.written >= CLEARED_TOKENS:
                link.texts.clear(ticket)
        if piece.HasField("status"):
            self._failed(ticket, from_item_status(piece.status))
        elif is_last:
            self._finish(ticket, piece, now)

    def _account_for(
        self, link: WorkerClient, ticket: PendingGeneration, piece: worker_pb2.GenerationPiece, now: float
    ) -> None:
        device_s = link.texts.end(ticket, now)
        contended = link.texts.waiting_for_kv > 0 or any(self._waiting(name) for name in link.texts.variants)
        self._costs.learn(ticket.request.model, tokens=piece.tokens, device_s=device_s, contended=contended)

    def _finish(self, ticket: PendingGeneration, piece: worker_pb2.GenerationPiece, now: float) -> None:
        variant = _writer_of(ticket)
        begun_at = ticket.begun_at if ticket.begun_at is not None else now
        first_token_at = ticket.first_token_at if ticket.first_token_at is not None else now
        written = GenerationResult(
            variant=variant,
            worker=ticket.worker,
            degraded_from=ticket.degraded_from,
            tokens=piece.tokens,
            prompt_tokens=piece.prompt_tokens,
            finish_reason=piece.finish_reason,
            queue_s=begun_at - ticket.enqueued_at,
            first_token_s=first_token_at - ticket.enqueued_at,
        )
        self._endings.finish(ticket, written, variant.tier.label)

    def _failed(self, ticket: PendingGeneration, error: SluiceError) -> None:
        is_gone = isinstance(error, NoEndpoint | ShuttingDown)
        if not ticket.written and isinstance(error, WorkerFailed):
            self._second_tries.on_failure(ticket, error.message, may_be_the_cause=True)
        elif not ticket.written and is_gone:
            self._second_tries.on_rejection(ticket, error.message)
        else:
            outcome = _lost(ticket, error.message) if is_gone else error
            self._endings.finish(ticket, outcome, _writer_of(ticket).tier.label)


def _lost(ticket: PendingGeneration, why: str) -> WorkerLost:
    error = WorkerLost(f"{ticket.worker} is gone, after {ticket.written} tokens of the text: {why}")
    error.metadata = {TOKENS_KEY: str(ticket.written)}
    return error


def _writer_of(ticket: PendingGeneration) -> Variant:
    if ticket.writer is None:
        raise RuntimeError(f"text {ticket.id} was sent to nobody")
    return ticket.writer


Finish = Callable[[PendingRequest, Outcome, str], None]
Retry = Callable[[PendingRequest, str, bool], None]


class OnServed(Protocol):
    """As AdmissionController has it."""

    def __call__(self, variant_id: str, cost: float, queue_s: float, *, requests: int) -> None:
        """Requests of a batch were answered, which cost and waited so much together."""


class OnWorkerLost(Protocol):
    """As RetryPolicy has it."""

    def __call__(self, ticket: PendingRequest, why: str, *, may_be_the_cause: bool, was_alone: bool) -> None:
        """A worker has died with the ticket in its hands."""


Refused = Callable[[PendingRequest, str], None]


class BatchResultHandler:
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
        died: OnWorkerLost,
        served: OnServed,
        clock: Callable[[], float],
    ) -> None:
        self._finish = finish
        self._retry = retry
        self._refused = refused
        self._died = died
        self._served = served
        self._clock = clock

    def settle(
        self, batch: InFlightBatch, result: worker_pb2.BatchResult, *, variant: Variant, worker: str, compute_s: float
    ) -> None:
        """The worker answered; `result` names each ticket of the batch once."""
        tier = variant.tier.label
        batch_s = max(0.0, self._clock() - batch.sent_at - compute_s)
        _end_span(batch)
        tickets, cost_s, queue_s, answered = batch.tickets, 0.0, 0.0, 0
        for item in result.results:
            number = item.id
            ticket = tickets[number]
            if ticket.state is RequestState.DONE or ticket.id != number:
                # It has ended, or was taken to another worker under another number, because this one hung. The device's
                # time is spent all the same: where it is not counted, callers that give up make workers look slow.
                if item.HasField("classification") or item.HasField("embedding"):
                    cost_s += ticket.cost_s
                continue
            if item.HasField("classification") or item.HasField("embedding"):
                answer = build_result(
                    ticket, item, variant=variant, worker=worker, batch_s=batch_s, compute_s=compute_s
                )
                cost_s, queue_s, answered = cost_s + ticket.cost_s, queue_s + answer.queue_s, answered + 1
                self._finish(ticket, answer, tier)
            else:
                self._failed(ticket, item, tier)
        if cost_s:
            self._served(variant.id, cost_s, queue_s, requests=answered)

    def void(self, batches: Iterable[InFlightBatch], *, worker: str, why: str) -> None:
        """The worker took the batches, in this order, and will not answer them. Only the first can have killed it."""
        for place, batch in enumerate(batches):
            _end_span(batch)
            for number, ticket in batch.tickets.items():
                if ticket.id == number:
                    self._died(ticket, f"{worker}: {why}", may_be_the_cause=place == 0, was_alone=batch.alone)

    def _failed(self, ticket: PendingRequest, item: worker_pb2.ItemResult, tier: str) -> None:
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


def _end_span(batch: InFlightBatch) -> None:
    if batch.span is not None:
        batch.span.end()
