"""Settlement of texts: what each piece that a worker sends, and its death, means for the text that it belongs to.

Before its first token a text is like any item: a failure of the worker's own making earns it another try, alone, as it
may be the cause. After that its caller holds a part of it that no other worker would continue, so it ends, and says
after how many tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from services.router.admission.controller import AdmissionController
from services.router.generation.text_costs import TextCosts
from services.router.generation.written import Written
from services.router.lifecycle.completion import Endings
from services.router.lifecycle.retry import SecondTries
from services.router.observability.stats import Ledger
from services.router.requests.generation import TextTicket
from services.router.requests.request import TicketState
from services.router.workers.client import WorkerLink
from services.router.workers.lone_try import CLEARED_TOKENS
from sluice.domain.errors import NoEndpoint, ShuttingDown, SluiceError, WorkerFailed, WorkerLost
from sluice.domain.status import from_item_status
from sluice.domain.variant import Variant
from sluice.v1 import worker_service_pb2 as worker_pb2

TOKENS_KEY = "tokens"


class TextSettlement:
    """Moves open texts on, and gives them their ends or second tries."""

    def __init__(
        self,
        *,
        admission: AdmissionController,
        endings: Endings,
        second_tries: SecondTries,
        ledger: Ledger,
        costs: TextCosts,
        waiting: Callable[[str], int],
        clock: Callable[[], float],
    ) -> None:
        self._admission = admission
        self._endings = endings
        self._second_tries = second_tries
        self._ledger = ledger
        self._costs = costs
        self._waiting = waiting
        self._clock = clock

    def hear(self, link: WorkerLink, pieces: Iterable[worker_pb2.GenerationPiece]) -> None:
        """The worker wrote. Pieces of texts that have ended here count for its account alone."""
        now = self._clock()
        # While anything is written, a second of the device is served in a second.
        self._admission.generated(link.address, link.texts.served_s(now))
        for piece in pieces:
            ticket = link.texts.open.get(piece.id)
            if ticket is not None:
                self._hear(link, ticket, piece, now)

    def void(self, tickets: Iterable[TextTicket], why: str) -> None:
        """The worker that had these texts is gone."""
        for ticket in tickets:
            if ticket.state is TicketState.DONE:
                continue
            was_alone = ticket.suspect and ticket.written < CLEARED_TOKENS
            if ticket.written:
                if was_alone:
                    self._second_tries.confirm(ticket)
                self._endings.finish(ticket, _lost(ticket, why))
            else:
                why_lost = f"{ticket.worker}: {why}"
                self._second_tries.after_death(ticket, why_lost, may_be_the_cause=True, was_alone=was_alone)

    def _hear(self, link: WorkerLink, ticket: TextTicket, piece: worker_pb2.GenerationPiece, now: float) -> None:
        if ticket.begun_at is None:
            link.texts.begin(ticket, now)
            if not piece.HasField("status"):
                self._admission.waited(_writer_of(ticket).id, now - ticket.enqueued_at)
        is_last = bool(piece.finish_reason) or piece.HasField("status")
        if is_last:
            self._account_for(link, ticket, piece, now)
        if ticket.state is TicketState.DONE:
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

    def _account_for(self, link: WorkerLink, ticket: TextTicket, piece: worker_pb2.GenerationPiece, now: float) -> None:
        device_s = link.texts.end(ticket, now)
        contended = link.texts.unbegun > 0 or any(self._waiting(name) for name in link.texts.variants)
        self._costs.learn(ticket.request.model, tokens=piece.tokens, device_s=device_s, contended=contended)

    def _finish(self, ticket: TextTicket, piece: worker_pb2.GenerationPiece, now: float) -> None:
        variant = _writer_of(ticket)
        begun_at = ticket.begun_at if ticket.begun_at is not None else now
        first_token_at = ticket.first_token_at if ticket.first_token_at is not None else now
        written = Written(
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

    def _failed(self, ticket: TextTicket, error: SluiceError) -> None:
        is_gone = isinstance(error, NoEndpoint | ShuttingDown)
        if not ticket.written and isinstance(error, WorkerFailed):
            self._second_tries.after_failure(ticket, error.message, may_be_the_cause=True)
        elif not ticket.written and is_gone:
            self._second_tries.after_refusal(ticket, error.message)
        else:
            outcome = _lost(ticket, error.message) if is_gone else error
            self._endings.finish(ticket, outcome, _writer_of(ticket).tier.label)


def _lost(ticket: TextTicket, why: str) -> WorkerLost:
    error = WorkerLost(f"{ticket.worker} is gone, after {ticket.written} tokens of the text: {why}")
    error.metadata = {TOKENS_KEY: str(ticket.written)}
    return error


def _writer_of(ticket: TextTicket) -> Variant:
    if ticket.writer is None:
        raise RuntimeError(f"text {ticket.id} was sent to nobody")
    return ticket.writer
