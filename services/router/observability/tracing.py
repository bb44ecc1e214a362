"""The router's span of a request: begun by the face that took it, ended with its outcome. Nothing when not sampled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import grpc
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from services.router.queueing.batch import InFlightBatch
from services.router.requests.request import GenerationResult, InferResult, Request, finish_name
from services.router.requests.validation import bounded_traceparent
from sluice.domain.errors import Reason, SluiceError
from sluice.runtime.tracing import TRACEPARENT_KEY, Tracing, traceparent_of

# The span of a batch: one send to one worker, linked to the requests that travel in it.


SPAN_NAME = "sluice.v1.WorkerService/Execute"


def start_batch_span(tracing: Tracing, batch: InFlightBatch, worker: str) -> Span | None:
    """A span in a trace of its own, or None when no request in the batch is traced.

    A batch has as many parents as requests, so it is linked to them and is nobody's child.
    """
    links = [
        ticket.request.traceparent
        for ticket in batch.tickets.values()
        if tracing.is_sampled(ticket.request.traceparent)
    ]
    if not links:
        return None
    attributes: dict[str, str | int] = {
        "rpc.system": "grpc",
        "rpc.service": "sluice.v1.WorkerService",
        "rpc.method": "Execute",
        "sluice.batch.id": batch.id,
        "sluice.batch.size": len(batch.tickets),
        "sluice.domain.variant": batch.variant_id,
        "sluice.worker": worker,
    }
    return tracing.start(SPAN_NAME, kind=SpanKind.CLIENT, attributes=attributes, links=links)


# The statuses that OpenTelemetry counts as a server's own errors; being busy or told nonsense is not one.
_SERVER_ERRORS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})


class Failure(Protocol):
    """How a request failed: an error, or a refusal that was made in advance."""

    @property
    def code(self) -> grpc.StatusCode: ...
    @property
    def reason(self) -> str: ...
    @property
    def message(self) -> str: ...


class RequestSpans:
    """Spans of requests, as RPC and generative-AI semantic conventions name their attributes."""

    def __init__(self, tracing: Tracing, *, service: str = "sluice.v1.InferenceService") -> None:
        self._tracing = tracing
        self._service = service

    def begin(self, method: str, traceparent: str) -> tuple[str, Span | None]:
        """The traceparent that the request carries on, and its span if it is sampled."""
        if not self._tracing.samples(traceparent):
            return traceparent, None
        attributes = {"rpc.system": "grpc", "rpc.service": self._service, "rpc.method": method}
        span = self._tracing.start(
            f"{self._service}/{method}", kind=SpanKind.SERVER, traceparent=traceparent, attributes=attributes
        )
        return traceparent_of(span), span

    @contextmanager
    def recording(
        self, span: Span | None, request: Request
    ) -> Iterator[Callable[[InferResult | GenerationResult], None]]:
        """End `span`, if there is one, with what comes of the block: what it records, an error, or departure."""
        try:
            yield (lambda outcome: self._record(span, request, outcome)) if span is not None else _nothing
        except SluiceError as error:
            if span is not None:
                self.fail(span, error)
            raise
        except asyncio.CancelledError:
            if span is not None:
                self.cancelled(span)
            raise

    def refused(self, method: str, context: grpc.aio.ServicerContext[Any, Any], why: Failure) -> None:
        """The call of `context` ended before its request was read to the end, and so before `begin`."""
        if self._tracing.enabled:
            self.refused_item(method, traceparent_in(context), why)

    def refused_item(self, method: str, traceparent: str, why: Failure) -> None:
        """As `refused`, for a request whose traceparent is known.

        Only a caller's own sampled trace gets a span: under overload most requests end here, and those without a
        caller's decision must stay as cheap as they are.
        """
        if self._tracing.is_sampled(traceparent):
            _, span = self.begin(method, traceparent)
            if span is not None:
                self.fail(span, why)

    def answer(self, span: Span, request: Request, answer: InferResult) -> None:
        """The request was answered."""
        attributes: dict[str, AttributeValue] = {
            "gen_ai.operation.name": "text_classification" if answer.variant.labels else "embeddings",
            "gen_ai.request.model": request.model,
            "gen_ai.response.model": answer.variant.id,
            "sluice.domain.enums": answer.variant.tier.label,
            "sluice.worker": answer.worker,
            "sluice.priority": request.priority,
            "sluice.query_class": request.query_class.label,
            "sluice.queue_ms": answer.queue_s * 1000,
            "sluice.batch_ms": answer.batch_s * 1000,
            "sluice.compute_ms": answer.compute_s * 1000,
            "rpc.response.status_code": "OK",
        }
        _end(span, request, answer, attributes)

    def written(self, span: Span, request: Request, written: GenerationResult) -> None:
        """The text was written to its end."""
        attributes: dict[str, AttributeValue] = {
            "gen_ai.operation.name": "text_completion",
            "gen_ai.request.model": request.model,
            "gen_ai.response.model": written.variant.id,
            "gen_ai.response.finish_reasons": [finish_name(written.finish_reason)],
            "gen_ai.usage.input_tokens": written.prompt_tokens,
            "gen_ai.usage.output_tokens": written.tokens,
            "sluice.domain.enums": written.variant.tier.label,
            "sluice.worker": written.worker,
            "sluice.priority": request.priority,
            "sluice.queue_ms": written.queue_s * 1000,
            "sluice.first_token_ms": written.first_token_s * 1000,
            "rpc.response.status_code": "OK",
        }
        _end(span, request, written, attributes)

    def _record(self, span: Span, request: Request, outcome: InferResult | GenerationResult) -> None:
        if isinstance(outcome, GenerationResult):
            self.written(span, request, outcome)
        else:
            self.answer(span, request, outcome)

    def fail(self, span: Span, error: Failure) -> None:
        """The request failed."""
        span.set_attribute("rpc.response.status_code", error.code.name)
        span.set_attribute("error.type", str(error.reason))
        if error.code.name in _SERVER_ERRORS:
            span.set_status(Status(StatusCode.ERROR, error.message))
        span.end()

    def cancelled(self, span: Span) -> None:
        """The caller went away."""
        span.set_attribute("rpc.response.status_code", "CANCELLED")
        span.set_attribute("error.type", str(Reason.CANCELLED))
        span.end()


def traceparent_in(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The caller's traceparent, or an empty string for one that is longer than any that means something."""
    for key, value in context.invocation_metadata() or ():
        if key == TRACEPARENT_KEY:
            return bounded_traceparent(value) if isinstance(value, str) else ""
    return ""


def _end(
    span: Span, request: Request, outcome: InferResult | GenerationResult, attributes: Mapping[str, AttributeValue]
) -> None:
    span.set_attributes(attributes)
    if outcome.degraded_from:
        span.set_attribute("sluice.degraded_from", outcome.degraded_from.label)
    if request.request_id:
        span.set_attribute("sluice.request_id", request.request_id)
    span.end()


def _nothing(outcome: InferResult | GenerationResult) -> None:
    del outcome
