"""A request as the router's core sees it, the answer it gets, and the ticket that stands for it meanwhile.

The core reads what it decides by (model, priority, class, deadline) and never opens an answer: a worker's
result passes through untouched, and the servicer that asked translates it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

from services.router.requests.caller import ANONYMOUS, Bundle, Caller
from sluice.domain.enums import Level, QueryClass, Tier
from sluice.domain.errors import SluiceError
from sluice.domain.variant import Variant
from sluice.runtime.tracing import trace_id_of
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import worker_service_pb2 as worker_pb2

logger = logging.getLogger(__name__)


# A text that was written to its end, and by whom.


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationResult:
    """What came of a text. `finish_reason` is a number of the contract's FinishReason.

    Times are seconds since the text was admitted: until it had its memory, and until its first token had come.
    """

    variant: Variant
    worker: str
    degraded_from: Tier
    tokens: int
    prompt_tokens: int
    finish_reason: int
    queue_s: float
    first_token_s: float


def finish_name(finish_reason: int) -> str:
    """The contract's name of a reason, in lower case and without its prefix; its number, if it has none."""
    value = inference_pb2.FinishReason.DESCRIPTOR.values_by_number.get(finish_reason)
    return value.name.removeprefix("FINISH_REASON_").lower() if value is not None else str(finish_reason)


DEFAULT_PRIORITY = 0.5
BYTES_PER_TOKEN = 4


# Not frozen: one is made per request, and freezing triples the cost. Nobody changes one after it is submitted.
@dataclass(slots=True, kw_only=True)
class Request:
    """What was asked. `deadline` is an instant of the monotonic clock in seconds."""

    model: str
    text: str
    deadline: float
    priority: float = DEFAULT_PRIORITY
    query_class: QueryClass = QueryClass.UNSPECIFIED
    minimum_tier: Tier = Tier.UNSPECIFIED
    truncate: bool = False
    top_k: int = 0
    conversation_id: str = ""
    request_id: str = ""
    traceparent: str = ""
    # Whose fair share of the router it takes, and what it is let in or refused together with, if anything.
    caller: Caller = ANONYMOUS
    bundle: Bundle | None = None
    # Set when it is submitted: whether it is above the router's threshold of priority, and asks for a generation.
    hot: bool = False
    generates: bool = False
    # Bytes of the message that it came in, which are held beside its text until it ends.
    message_bytes: int = 0
    # How complex the text is, in [0, 1], once that was needed; the class is then the router's guess and not a wish.
    complexity: float | None = None
    texts: ClassVar[int] = 1


@dataclass(slots=True, kw_only=True)
class InferResult:
    """What came of it. Times are seconds; `degraded_from` is UNSPECIFIED when nothing better was missed."""

    result: worker_pb2.ItemResult
    variant: Variant
    worker: str
    levels: tuple[Level, ...]
    degraded_from: Tier
    queue_s: float
    batch_s: float
    compute_s: float
    trace_id: str


Outcome = InferResult | SluiceError
OnDone = Callable[[Outcome], None]


class RequestState(IntEnum):
    """Where a ticket is. It may go back from DISPATCHED to WAITING once, and never leaves DONE."""

    WAITING = 0
    DISPATCHED = 1
    DONE = 2


class PendingRequest:
    """One open request. Made when it is admitted, and done when `on_done` has been called, exactly once."""

    __slots__ = (
        "attempts",
        "cost_s",
        "degraded_from",
        "dispatched_at",
        "enqueued_at",
        "hot",
        "id",
        "levels",
        "on_done",
        "request",
        "size",
        "state",
        "suspect",
        "text_bytes",
        "tokens",
        "variant_id",
    )

    def __init__(self, number: int, request: Request, on_done: Callable[[Any], None], *, hot: bool, now: float) -> None:
        self.id = number
        self.request = request
        self.on_done = on_done
        self.hot = hot
        self.state = RequestState.WAITING
        self.enqueued_at = now
        self.dispatched_at = now
        self.attempts = 0
        # It was on a worker that died of it, or beside it; it travels alone from then on.
        self.suspect = False
        self.text_bytes = len(request.text.encode())
        # All that is held for it, counted once for admission and release.
        self.size = self.text_bytes + request.message_bytes
        # What a tokenizer makes of the text, near enough: a model's pace corrects what is wrong with it.
        self.tokens = 2 + self.text_bytes // BYTES_PER_TOKEN
        # Seconds of a device that admission counted for it.
        self.cost_s = 0.0
        self.variant_id = ""
        self.degraded_from = Tier.UNSPECIFIED
        self.levels: tuple[Level, ...] = ()

    def tell(self, outcome: Outcome | GenerationResult) -> None:
        """Hand over the outcome. Who cannot take it costs neither its neighbours theirs nor the worker its link."""
        try:
            self.on_done(outcome)
        except Exception:
            logger.exception("an outcome could not be handed over")

    def silence(self) -> None:
        """Nobody listens for the outcome any more."""
        self.on_done = lambda _: None

    @property
    def pool(self) -> str:
        """`hot` or `cold`, as metrics name it."""
        return "hot" if self.hot else "cold"


def build_result(
    ticket: PendingRequest,
    result: worker_pb2.ItemResult,
    *,
    variant: Variant,
    worker: str,
    batch_s: float,
    compute_s: float,
) -> InferResult:
    """The answer that a worker's `result` is to `ticket`."""
    traceparent = ticket.request.traceparent
    return InferResult(
        result=result,
        variant=variant,
        worker=worker,
        levels=ticket.levels,
        degraded_from=ticket.degraded_from,
        queue_s=ticket.dispatched_at - ticket.enqueued_at,
        batch_s=batch_s,
        compute_s=compute_s,
        trace_id=trace_id_of(traceparent) if traceparent else "",
    )
