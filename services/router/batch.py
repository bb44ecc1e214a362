"""A batch on its way: formed at the last moment from one queue, kept until its result has come."""

from __future__ import annotations

from dataclasses import dataclass

from opentelemetry.trace import Span

from services.router.request import Ticket, TicketState
from services.router.variant_queue import VariantQueue


@dataclass(slots=True, kw_only=True)
class OpenBatch:
    """Tickets that one worker executes together, by ticket id. `alone` forbids others beside it on the worker."""

    id: int
    variant_id: str
    tickets: dict[int, Ticket]
    sent_at: float
    alone: bool = False
    span: Span | None = None


def form(queue: VariantQueue, *, number: int, max_items: int, max_tokens: int, now: float) -> OpenBatch | None:
    """Take up to `max_items` tickets out of `queue`, or one suspect alone. None when only the departed were left.

    `max_tokens` bounds the padded batch, by the number of bytes in the longest text, which no tokenizer exceeds but
    for special tokens; 0 is no bound. A first ticket is taken whatever its length: alone it is the smallest batch.
    """
    suspect = queue.pop_suspect()
    tickets = [suspect] if suspect else _take(queue, max_items=max_items, max_tokens=max_tokens)
    if not tickets:
        return None
    for ticket in tickets:
        ticket.state = TicketState.DISPATCHED
        ticket.dispatched_at = now
        ticket.attempts += 1
    return OpenBatch(
        id=number,
        variant_id=queue.variant_id,
        tickets={ticket.id: ticket for ticket in tickets},
        sent_at=now,
        alone=suspect is not None,
    )


def _take(queue: VariantQueue, *, max_items: int, max_tokens: int) -> list[Ticket]:
    tickets: list[Ticket] = []
    longest = 0
    while len(tickets) < max_items:
        ticket = queue.pop()
        if ticket is None:
            break
        if max_tokens:
            longest = max(longest, len(ticket.request.text.encode()))
            if tickets and longest * (len(tickets) + 1) > max_tokens:
                queue.push(ticket)
                break
        tickets.append(ticket)
    return tickets
