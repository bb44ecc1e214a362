"""Who is traced, and that nobody else costs anything."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sluice.runtime.config import TelemetryConfig
from sluice.runtime.tracing import Tracing, parse_traceparent, trace_id_of, traceparent_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, NOT_SAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"

MALFORMED = {
    "empty": "",
    "words": "hello",
    "short": SAMPLED[:-1],
    "zero trace": f"00-{'0' * 32}-{SPAN}-01",
    "zero span": f"00-{TRACE}-{'0' * 16}-01",
    "version ff": f"ff-{TRACE}-{SPAN}-01",
    "version no hex": f"zz-{TRACE}-{SPAN}-01",
    "upper case": f"00-{TRACE.upper()}-{SPAN}-01",
    "no hex": f"00-{'x' * 32}-{SPAN}-01",
    "underscores": f"00-{TRACE[:-2]}_1-{SPAN}-01",
    "sign": f"00-+{TRACE[1:]}-{SPAN}-01",
    "blank": f"00- {TRACE[1:]}-{SPAN}-01",
    "flags no hex": f"00-{TRACE}-{SPAN}-zz",
    "more parts in version 00": f"{SAMPLED}-more",
    "as long as a right one": "z" * 55,
}
malformed = pytest.mark.parametrize("value", MALFORMED.values(), ids=MALFORMED)


def tracing(ratio: float = 1.0, *, on: bool = True) -> tuple[Tracing, InMemorySpanExporter]:
    kept = InMemorySpanExporter()
    processor = SimpleSpanProcessor(kept) if on else None
    made = Tracing(
        service="test", config=TelemetryConfig(sample_ratio=ratio), processor=processor, dice=random.Random(1)
    )
    return made, kept


def test_without_an_endpoint_nothing_is_ever_traced() -> None:
    off, _ = tracing(on=False)
    assert not off.enabled
    assert not any(off.samples(value) or off.is_sampled(value) for value in ("", SAMPLED, *MALFORMED.values()))


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_the_callers_decision_holds_whatever_the_ratio(ratio: float) -> None:
    on, _ = tracing(ratio)
    assert on.samples(SAMPLED)
    assert not on.samples(NOT_SAMPLED)


@pytest.mark.parametrize(("ratio", "least", "most"), [(0.0, 0, 0), (0.25, 200, 300), (1.0, 1000, 1000)])
def test_the_ratio_decides_for_callers_who_do_not(ratio: float, least: int, most: int) -> None:
    on, _ = tracing(ratio)
    assert least <= sum(on.samples("") for _ in range(1000)) <= most


@malformed
def test_a_malformed_traceparent_is_as_good_as_none(value: str) -> None:
    assert parse_traceparent(value) is None
    assert tracing(1.0)[0].samples(value)
    assert not tracing(0.0)[0].samples(value)


@malformed
def test_a_malformed_traceparent_is_no_sampled_span_and_has_no_trace(value: str) -> None:
    # It travels with its request, so whoever asks about it later must not stumble over it.
    assert not tracing()[0].is_sampled(value)
    assert trace_id_of(value) == ""


@given(st.text(max_size=60) | st.text("0123456789abcdef-_zZ +", min_size=55, max_size=55))
def test_nothing_that_a_caller_can_send_raises(value: str) -> None:
    on, _ = tracing()
    on.samples(value)
    on.is_sampled(value)
    assert trace_id_of(value) == "" or parse_traceparent(value) is not None


def test_a_traceparent_of_a_later_version_is_read_by_what_we_know() -> None:
    context = parse_traceparent(f"01-{TRACE}-{SPAN}-03-what-comes-later")
    assert context is not None
    assert (f"{context.trace_id:032x}", f"{context.span_id:016x}", int(context.trace_flags)) == (TRACE, SPAN, 1)


def finished(kept: InMemorySpanExporter) -> ReadableSpan:
    (span,) = kept.get_finished_spans()
    return span


def test_a_span_is_the_callers_child_and_linked_to_what_it_should_be() -> None:
    on, kept = tracing()
    on.start("work", traceparent=SAMPLED, links=[NOT_SAMPLED, "nonsense"], attributes={"size": 2}).end()
    span = finished(kept)
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, SPAN)
    assert [f"{link.context.span_id:016x}" for link in span.links] == [SPAN]
    assert dict(span.attributes or {}) == {"size": 2}


def test_a_span_without_a_parent_begins_a_trace_even_inside_another_span() -> None:
    on, kept = tracing()
    with on._tracer.start_as_current_span("around"):
        on.start("apart").end()
        assert finished(kept).parent is None


def test_a_spans_traceparent_makes_it_a_parent_elsewhere() -> None:
    on, _ = tracing()
    span = on.start("work", traceparent=SAMPLED)
    written = traceparent_of(span)
    assert parse_traceparent(written) is not None
    assert on.is_sampled(written)
    assert trace_id_of(written) == TRACE
    span.end()
