"""The client's span of a request, in the caller's own OpenTelemetry set-up. Without one there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from sluice.domain.errors import SluiceError
from sluice.runtime.tracing import traceparent_of


@contextmanager
def request_span(method: str) -> Iterator[str]:
    """A CLIENT span around one request; gives its traceparent, or an empty string when nothing is traced."""
    tracer = trace.get_tracer("sluice.client")
    with tracer.start_as_current_span(_name(method), kind=SpanKind.CLIENT, attributes=_attributes(method)) as span:
        try:
            yield traceparent_of(span) if span.get_span_context().is_valid else ""
        except SluiceError as error:
            span.set_status(Status(StatusCode.ERROR, str(error.reason)))
            raise


class StreamSpan:
    """A CLIENT span around a call that its caller reads piece by piece: what it does in between is not below it."""

    def __init__(self, method: str) -> None:
        tracer = trace.get_tracer("sluice.client")
        self._span = tracer.start_span(_name(method), kind=SpanKind.CLIENT, attributes=_attributes(method))

    @property
    def traceparent(self) -> str:
        """The traceparent of the span, or an empty string when nothing is traced."""
        return traceparent_of(self._span) if self._span.get_span_context().is_valid else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, SluiceError):
            self._span.set_status(Status(StatusCode.ERROR, str(error.reason)))
        self._span.end()


def _name(method: str) -> str:
    return f"sluice.v1.InferenceService/{method}"


def _attributes(method: str) -> dict[str, str]:
    return {"rpc.system": "grpc", "rpc.service": "sluice.v1.InferenceService", "rpc.method": method}
