"""A batch on its way: formed at the last moment from one queue, kept until its result has come."""

from __future__ import annotations

from dataclasses import dataclass

from opentelemetry.trace import Span

from services.router.queueing.queue import VariantQueue
from services.router.requests.request import PendingRequest, RequestState

# What an item takes in its message beside its text and its traceparent, and what a batch takes beside its items.
ITEM_BYTES = 64
BATCH_BYTES = 512


@dataclass(slots=True, kw_only=True)
class InFlightBatch:
    """Tickets that one worker executes together, by ticket id. `alone` forbids others beside it on the worker.

    `size` is no less than its message has, in bytes.
    """

    id: int
    variant_id: str
    tickets: dict[int, PendingRequest]
    sent_at: float
    tokens: int = 0
    size: int = BATCH_BYTES
    alone: bool = False
    span: Span | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """How large a batch may become.

    `max_tokens` bounds the padded batch, by the number of bytes in the longest text, which no tokenizer exceeds but for
    special tokens; `efficient_batch_tokens` bounds the tokens that are expected of all texts together, beyond which a
    batch only takes longer. `max_bytes` bounds the message, its frame aside. 0 is no bound. A first ticket is taken
    whatever its length: alone it is the smallest batch.
    """

    max_items: int
    max_tokens: int = 0
    efficient_batch_tokens: float = 0.0
    max_bytes: int = 0


def form_batch(
    queue: VariantQueue, limits: BatchLimits, *, number: int, ages: bool, now: float, is_free: bool = True
) -> InFlightBatch | None:
    """Take tickets out of `queue` within `limits`, or one suspect alone. None when only the departed were left.

    `ages` says whether cold work that waits has its share of the places (see `VariantQueue.pop`). Suspects are for a
    worker that `is_free` of other work.
    """
    suspect = queue.pop_suspect() if is_free else None
    tickets = [suspect] if suspect else _take(queue, limits, ages=ages)
    if not tickets:
        return None
    batch = InFlightBatch(
        id=number,
        variant_id=queue.variant_id,
        tickets={ticket.id: ticket for ticket in tickets},
        sent_at=now,
        tokens=sum(ticket.tokens for ticket in tickets),
        size=BATCH_BYTES + sum(_bytes_of(ticket) for ticket in tickets),
        alone=suspect is not None,
    )
    for ticket in tickets:
        ticket.state = RequestState.DISPATCHED
        ticket.dispatched_at = now
        ticket.attempts += 1
    return batch


def _take(queue: VariantQueue, limits: BatchLimits, *, ages: bool) -> list[PendingRequest]:
    tickets: list[PendingRequest] = []
    longest = spent = 0
    size = BATCH_BYTES
    while len(tickets) < limits.max_items:
        ticket = queue.pop(ages=ages)
        if ticket is None:
            break
        spent += ticket.tokens
        longest = max(longest, ticket.text_bytes)
        size += _bytes_of(ticket)
        is_too_large = 0 < limits.max_bytes < size
        is_too_long = 0 < limits.max_tokens < longest * (len(tickets) + 1) or 0 < limits.efficient_batch_tokens < spent
        if tickets and (is_too_long or is_too_large):
            queue.put_back(ticket)
            break
        tickets.append(ticket)
    return tickets


def _bytes_of(ticket: PendingRequest) -> int:
    """At least what the item has in its message."""
    return ticket.text_bytes + ITEM_BYTES + len(ticket.request.traceparent)
