"""What an Open Inference Protocol request asks by its parameters."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.api.open_inference_codec import Parameters, priority_of_rank, read_parameters
from sluice.domain.enums import QueryClass, Tier
from sluice.domain.errors import InvalidRequest
from sluice.open_inference import grpc_service_pb2 as oip_pb2

Value = bool | int | float | str
KNOWN = ("request_priority", "priority", "timeout", "query_class", "minimum_tier", "truncate")


def parameter(value: Value) -> oip_pb2.InferParameter:
    if isinstance(value, bool):
        return oip_pb2.InferParameter(bool_param=value)
    if isinstance(value, int):
        return oip_pb2.InferParameter(int64_param=value)
    if isinstance(value, float):
        return oip_pb2.InferParameter(double_param=value)
    return oip_pb2.InferParameter(string_param=value)


def read(**sent: Value) -> Parameters:
    return read_parameters({name: parameter(value) for name, value in sent.items()})


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("request_priority", 0.9, "priority", 0.9),
        ("request_priority", "0.25", "priority", 0.25),
        ("request_priority", 1, "priority", 1.0),
        ("priority", 1, "priority", 1.0),
        ("priority", 10, "priority", 0.0),
        ("priority", 0, "priority", 0.5),
        ("priority", "1", "priority", 1.0),
        ("timeout", 1_500_000, "timeout_s", 1.5),
        ("timeout", 0, "timeout_s", None),
        ("query_class", "real_time", "query_class", QueryClass.REAL_TIME),
        ("minimum_tier", "full", "minimum_tier", Tier.FULL),
        ("truncate", True, "truncate", True),
        ("truncate", "true", "truncate", True),
        ("truncate", False, "truncate", False),
    ],
)
def test_what_is_known_is_read(name: str, value: Value, field: str, expected: object) -> None:
    parameters = read(**{name: value})
    assert getattr(parameters, field) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("request_priority", 1.5),
        ("request_priority", -0.5),
        ("request_priority", float("nan")),
        ("request_priority", "high"),
        ("priority", -1),
        ("priority", "first"),
        ("priority", True),
        ("priority", 1.5),
        ("priority", float("inf")),
        ("timeout", -1),
        ("timeout", "soon"),
        ("timeout", float("nan")),
        ("timeout", float("inf")),
        ("timeout", "9" * 400),
        ("query_class", "unspecified"),
        ("query_class", "hard"),
        ("query_class", 1),
        ("minimum_tier", "best"),
        ("minimum_tier", 3),
    ],
)
def test_what_is_known_and_wrong_is_refused_by_its_name(name: str, value: Value) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(**{name: value})
    assert caught.value.field == f"parameters.{name}"


@pytest.mark.parametrize("order", [("priority", "request_priority"), ("request_priority", "priority")])
def test_a_priority_of_ours_goes_before_a_rank_in_whatever_order_they_stand(order: tuple[str, str]) -> None:
    values: dict[str, Value] = {"priority": 10, "request_priority": 0.9}
    assert read(**{name: values[name] for name in order}).priority == 0.9


def test_what_is_unknown_is_ignored() -> None:
    assert read(sequence_id=3, binary_data=True, max_tokens="many") == Parameters()


def test_a_parameter_without_a_value_is_not_taken_for_one() -> None:
    with pytest.raises(InvalidRequest):
        read_parameters({"priority": oip_pb2.InferParameter()})


@given(st.sampled_from(KNOWN), st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text())
def test_whatever_is_sent_is_read_within_bounds_or_refused(name: str, value: Value) -> None:
    refused = ""
    try:
        parameters = read(**{name: value.encode("utf-8", "ignore").decode() if isinstance(value, str) else value})
    except InvalidRequest as error:
        parameters, refused = Parameters(), error.field
    assert refused in {"", f"parameters.{name}"}
    assert 0 <= parameters.priority <= 1
    assert parameters.timeout_s is None or parameters.timeout_s > 0


def test_ranks_fall_evenly_from_most_to_least_important() -> None:
    priorities = [priority_of_rank(rank) for rank in range(1, 13)]
    assert priorities == sorted(priorities, reverse=True)
    assert (priorities[0], priorities[9], priorities[11]) == (1.0, 0.0, 0.0)
    steps = [one - other for one, other in pairwise(priorities[:10])]
    assert max(steps) == pytest.approx(min(steps))
