"""Traces: spans where somebody looks at them, and nothing at all where nobody does.

A program has one `Tracing`. Each request is asked about once, by its W3C traceparent: the caller's own decision
holds; without one a share of the requests is sampled here. What is not sampled makes no object on its way.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, TraceFlags
from opentelemetry.util.types import AttributeValue

from sluice.runtime.channel import proxy_options
from sluice.runtime.config import TelemetryConfig

TRACEPARENT_KEY = "traceparent"
# W3C Trace Context: lower case, no id of zeros, no version ff, and only versions after 00 may say more.
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<span>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?:(?<!^00.{53})-.*)?",
    re.ASCII | re.DOTALL,
)


class Tracing:
    """A program's spans. Off, and free, unless there is an endpoint or a processor to give them to."""

    def __init__(
        self,
        *,
        service: str,
        config: TelemetryConfig,
        processor: SpanProcessor | None = None,
        dice: random.Random | None = None,
    ) -> None:
        self._ratio = config.sample_ratio
        self._dice = dice or random.Random()  # noqa: S311  sampling needs no secrecy
        if processor is None and config.otlp_endpoint:
            processor = BatchSpanProcessor(_exporter(config.otlp_endpoint))
        self.enabled = processor is not None
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=Resource.create({"service.name": f"sluice-{service}"}), shutdown_on_exit=False
        )
        if processor is not None:
            self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("sluice")

    def samples(self, traceparent: str) -> bool:
        """Whether a request that arrives with `traceparent` (empty: without) is traced here."""
        if not self.enabled:
            return False
        if traceparent:
            context = parse_traceparent(traceparent)
            if context is not None:
                return context.trace_flags.sampled
        return self._ratio > 0 and self._dice.random() < self._ratio

    def is_sampled(self, traceparent: str) -> bool:
        """Whether a span that was made here or elsewhere is recorded. Tells nothing about new requests."""
        if not self.enabled or not traceparent:
            return False
        context = parse_traceparent(traceparent)
        return context is not None and context.trace_flags.sampled

    def start(
        self,
        name: str,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        traceparent: str = "",
        attributes: Mapping[str, AttributeValue] | None = None,
        links: Sequence[str] = (),
        start_time_ns: int | None = None,
    ) -> Span:
        """A new span below `traceparent` (empty: a new trace), linked to the spans that `links` name.

        Call it only for what `samples` said yes to; end the span yourself.
        """
        parent = parse_traceparent(traceparent) if traceparent else None
        # An empty context: the span's parent is what the message says, never what happens to be current here.
        context = trace.set_span_in_context(trace.NonRecordingSpan(parent or trace.INVALID_SPAN_CONTEXT))
        linked = [Link(found) for found in map(parse_traceparent, links) if found is not None]
        return self._tracer.start_span(
            name, context=context, kind=kind, attributes=attributes, links=linked, start_time=start_time_ns
        )

    def close(self) -> None:
        """Send what is left and stop. Takes at most the exporter's timeout."""
        self._provider.shutdown()


def _exporter(endpoint: str) -> OTLPSpanExporter:
    # The exporter's own type of the options, pairs of strings, is narrower than gRPC's.
    options: Any = proxy_options(endpoint)
    return OTLPSpanExporter(endpoint=endpoint, insecure=True, channel_options=options)


def traceparent_of(span: Span) -> str:
    """The W3C traceparent that makes `span` a parent elsewhere."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def trace_id_of(traceparent: str) -> str:
    """The trace id inside `traceparent`, 32 hex digits; empty if there is none."""
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    return match["trace"] if match else ""


def parse_traceparent(value: str) -> SpanContext | None:
    """The span that a W3C traceparent names, or None if it is malformed (it is then ignored, as W3C asks)."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None:
        return None
    flags = TraceFlags(int(match["flags"], 16) & 1)
    return SpanContext(int(match["trace"], 16), int(match["span"], 16), is_remote=True, trace_flags=flags)
