"""What is refused by looking at a request alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.requests.request import Request
from services.router.requests.validation import validate
from sluice.domain.errors import Expired, InvalidRequest
from sluice.transport.message_handlers import parse
from sluice.v1 import inference_service_pb2 as inference_pb2

LIMIT = 100


def check(**fields: Any) -> None:
    validate(Request(**{"model": "m", "text": "text", "deadline": 10.0, **fields}), max_text_bytes=LIMIT, now=5.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text", ""),
        ("text", " \n\t\u3000"),
        ("text", "x" * (LIMIT + 1)),
        ("text", "水" * 34),
        ("text", "😀" * 26),
        ("priority", -1e-9),
        ("priority", 1.0000001),
        ("priority", float("nan")),
        ("priority", float("inf")),
        ("request_id", "x" * 129),
        ("request_id", "é" * 65),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_its_field(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(**{field: value})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text", "x" * LIMIT),
        ("text", "水" * 33),
        ("text", "😀" * 25),
        ("text", "\u0000"),
        ("priority", 0.0),
        ("priority", 1.0),
        ("priority", -0.0),
        ("request_id", "x" * 128),
        ("request_id", "é" * 64),
    ],
)
def test_what_lies_on_the_bound_is_served(field: str, value: object) -> None:
    check(**{field: value})


@pytest.mark.parametrize("deadline", [5.0, 4.999, float("-inf")])
def test_a_deadline_that_has_passed_is_told_before_anything_else(deadline: float) -> None:
    with pytest.raises(Expired):
        check(deadline=deadline, text="")


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=130).filter(lambda text: not text.isspace())
)
def test_the_limit_is_one_of_bytes_whatever_the_script(text: str) -> None:
    if len(text.encode()) <= LIMIT:
        check(text=text)
    else:
        with pytest.raises(InvalidRequest):
            check(text=text)


@given(st.binary(max_size=60))
def test_bytes_are_a_message_or_the_callers_mistake(data: bytes) -> None:
    field = ""
    try:
        message = parse(inference_pb2.InferRequest, data, field="query")
    except InvalidRequest as error:
        message, field = inference_pb2.InferRequest(), error.field
    assert field in {"", "query"}
    assert isinstance(message, inference_pb2.InferRequest)


@pytest.mark.parametrize("data", [b"\x12\x02\xff\xfe", b"\x12\xff", b"\xff" * 20])
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="InferRequest"):
        parse(inference_pb2.InferRequest, data)
