"""One Generate call: a text's pieces go out as its reader takes them, and the call ends as the text does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from services.router.generation.translation import to_response
from services.router.generation.written import Written
from services.router.lifecycle.generations import Texts
from services.router.observability.tracing import RequestSpans
from services.router.requests.generation import TextTicket
from services.router.requests.request import Request
from services.router.requests.sampling_params import Sampling
from sluice.domain.errors import SluiceError
from sluice.runtime.message_size import DEFAULT_LIMIT_BYTES

# For everything in a message but its text.
OVERHEAD_BYTES = 8_192

Write = Callable[[bytes], Awaitable[None]]


async def generate(
    texts: Texts,
    spans: RequestSpans,
    request: Request,
    sampling: Sampling,
    write: Write,
    *,
    max_message_bytes: int = DEFAULT_LIMIT_BYTES,
) -> None:
    """Write the text out, in messages of at most `max_message_bytes`.

    Raises the SluiceError that ends it; a caller who goes away cancels it, at the worker too.
    """
    request.traceparent, span = spans.begin("Generate", request.traceparent)
    with spans.recording(span, request) as record:
        ticket = texts.take(request, sampling)
        try:
            record(await _pass_on(ticket, write, max_message_bytes - OVERHEAD_BYTES))
        finally:
            # Nothing happens if it has ended.
            texts.cancel(ticket)


async def _pass_on(ticket: TextTicket, write: Write, most_bytes: int) -> Written:
    is_first = True
    while True:
        portion = await ticket.outlet.take()
        outcome = portion.outcome
        if portion.text or not isinstance(outcome, SluiceError):
            for part in portion.in_parts(most_bytes):
                await write(to_response(part, ticket, is_first=is_first).SerializeToString())
                is_first = False
        if isinstance(outcome, SluiceError):
            raise outcome
        if outcome is not None:
            return outcome
