"""Log lines that programs read."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from sluice.runtime.logging import JsonFormatter

SPAN = NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1)))


def strictly(text: str) -> dict[str, Any]:
    """JSON as other languages read it: without Python's own NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    parsed = json.loads(text, parse_constant=refuse)
    assert isinstance(parsed, dict)
    return parsed


def line(message: str, *arguments: object, exc_info: Any = None, **extra: object) -> dict[str, Any]:
    record = logging.getLogger("sluice.test").makeRecord(
        "sluice.test", logging.WARNING, __file__, 1, message, arguments, exc_info, extra=extra
    )
    text = JsonFormatter("router").format(record)
    assert "\n" not in text
    return strictly(text)


def test_a_line_says_when_what_and_who() -> None:
    seen = line("%d workers", 3)
    assert seen.pop("time").endswith("+00:00")
    assert seen == {"level": "WARNING", "service": "router", "logger": "sluice.test", "message": "3 workers"}


def test_extra_fields_stand_beside_the_message() -> None:
    seen = line("worker lost", worker="w1", credits=2, levels=["offload"])
    assert (seen["worker"], seen["credits"], seen["levels"]) == ("w1", 2, ["offload"])


def test_the_current_trace_is_named_and_without_one_nothing_is() -> None:
    with trace.use_span(SPAN):
        seen = line("traced")
    assert (seen["trace_id"], seen["span_id"]) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    assert "trace_id" not in line("not traced")


def test_a_message_of_several_lines_and_its_traceback_stay_one_line() -> None:
    error = ValueError("broken\nin two")
    seen = line("first\nsecond\u2028third", exc_info=(ValueError, error, None))
    assert seen["message"] == "first\nsecond\u2028third"
    assert "ValueError: broken\nin two" in seen["exception"]


class Opaque:
    def __str__(self) -> str:
        return "opaque"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {("m", "light"): 1}, {1, 2}, b"\xff", Opaque()], ids=str)
def test_what_json_cannot_hold_is_written_as_its_text(value: object) -> None:
    assert line("odd", value=value)["value"] == str(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.text(), json_values)
def test_whatever_is_logged_makes_one_line_of_json(message: str, value: object) -> None:
    seen = line("%s", message, value=value)
    assert (seen["message"], seen["value"]) == (message, value)
