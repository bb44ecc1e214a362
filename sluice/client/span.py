"""The client's span of a request, in the caller's own OpenTelemetry set-up. Without one there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from sluice.errors import SluiceError
from sluice.telemetry import traceparent_of


@contextmanager
def request_span(method: str) -> Iterator[str]:
    """A CLIENT span around one request; gives its traceparent, or an empty string when nothing is traced."""
    name = f"sluice.v1.InferenceService/{method}"
    attributes = {"rpc.system": "grpc", "rpc.service": "sluice.v1.InferenceService", "rpc.method": method}
    tracer = trace.get_tracer("sluice.client")
    with tracer.start_as_current_span(name, kind=SpanKind.CLIENT, attributes=attributes) as span:
        try:
            yield traceparent_of(span) if span.get_span_context().is_valid else ""
        except SluiceError as error:
            span.set_status(Status(StatusCode.ERROR, str(error.reason)))
            raise
