"""An operator's request, checked before it can do harm."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from services.governor.servicer import override_from_proto
from sluice.domain.enums import Level, Precision
from sluice.domain.errors import InvalidRequest
from sluice.v1 import degradation_pb2
from sluice.v1 import governor_service_pb2 as governor_pb2

A_MINUTE = Duration(seconds=60)
NAN, INFINITE = float("nan"), float("inf")


def asks(
    *levels: int, duration: Duration = A_MINUTE, reason: str = "", numbers: Mapping[str, float] | None = None
) -> governor_pb2.SetDegradationRequest:
    degradation = degradation_pb2.Degradation(levels=levels, **(numbers or {}))  # type: ignore[arg-type]
    return governor_pb2.SetDegradationRequest(degradation=degradation, duration=duration, reason=reason)


def refused(request: governor_pb2.SetDegradationRequest) -> str:
    with pytest.raises(InvalidRequest) as caught:
        override_from_proto(request)
    return caught.value.field


def test_without_a_degradation_it_clears_and_needs_no_duration() -> None:
    assert override_from_proto(governor_pb2.SetDegradationRequest(reason="over")) is None


@pytest.mark.parametrize(
    "duration",
    [
        Duration(),
        Duration(seconds=-1),
        Duration(nanos=-1),
        Duration(seconds=86_400, nanos=1_000_000),
        Duration(seconds=2**62),
    ],
    ids=["none", "negative", "just negative", "just over a day", "for ever"],
)
def test_an_override_has_a_duration_of_at_most_a_day(duration: Duration) -> None:
    assert refused(asks(1, duration=duration)) == "duration"


def test_an_override_without_a_duration_is_refused() -> None:
    request = asks(1)
    request.ClearField("duration")
    assert refused(request) == "duration"


@pytest.mark.parametrize("duration", [Duration(nanos=1), Duration(seconds=86_400)], ids=["shortest", "a day"])
def test_the_shortest_and_the_longest_override_are_accepted(duration: Duration) -> None:
    assert override_from_proto(asks(1, duration=duration)) is not None


@pytest.mark.parametrize("value", [-0.1, 1.1, NAN, INFINITE, -INFINITE])
@pytest.mark.parametrize("field", ["offload_share", "lighten_share", "admit_scale"])
def test_a_number_outside_its_range_is_refused_by_its_name(field: str, value: float) -> None:
    assert refused(asks(1, 2, 3, numbers={"admit_scale": 0.5, field: value})) == f"degradation.{field}"


@pytest.mark.parametrize("level", [0, 4, -1])
def test_a_level_that_does_not_exist_is_refused(level: int) -> None:
    assert refused(asks(1, level)) == "degradation.levels"


def test_a_level_without_a_number_acts_fully_and_one_not_in_force_not_at_all() -> None:
    directive = override_from_proto(asks(1))
    assert directive is not None
    assert (directive.levels, directive.offload_share, directive.lighten_share) == ((Level.OFFLOAD,), 1.0, 0.0)
    assert directive.admit_scale == 1.0


def test_a_precision_is_the_first_step_of_level_2_unless_a_share_asks_for_the_copies_too() -> None:
    alone = override_from_proto(asks(2, numbers={"precision": 3}))
    assert alone is not None
    assert (alone.precision, alone.lighten_share, alone.degradation.lowers_only) == (Precision.FP8, 0.0, True)
    both = override_from_proto(asks(2, numbers={"precision": 3, "lighten_share": 0.5}))
    assert both is not None
    assert (both.precision, both.lighten_share) == (Precision.FP8, 0.5)


@pytest.mark.parametrize(("levels", "precision"), [((2,), 5), ((2,), -1), ((1,), 3), ((), 1)])
def test_a_precision_that_does_not_exist_or_comes_without_its_level_is_refused(
    levels: tuple[int, ...], precision: int
) -> None:
    assert refused(asks(*levels, numbers={"precision": precision})) == "degradation.precision"


def test_admission_is_not_reduced_by_a_scale_that_nobody_named() -> None:
    assert refused(asks(1, 3)) == "degradation.admit_scale"


def test_levels_are_put_in_order_and_the_reason_names_the_operator() -> None:
    directive = override_from_proto(asks(3, 1, 3, numbers={"admit_scale": 0.5}, reason="rehearsal"))
    assert directive is not None
    assert (directive.levels, directive.admit_scale) == ((Level.OFFLOAD, Level.ADMIT), 0.5)
    assert directive.reason == "operator: rehearsal"


@given(
    st.lists(st.integers(-1, 5), max_size=4),
    st.fixed_dictionaries({}, optional=dict.fromkeys(("offload_share", "lighten_share", "admit_scale"), st.floats())),
)
def test_what_is_accepted_lies_within_the_contract(levels: list[int], numbers: dict[str, float]) -> None:
    directive, field = None, ""
    try:
        directive = override_from_proto(asks(*levels, numbers=numbers))
    except InvalidRequest as error:
        field = error.field
    if directive is None:
        assert field.startswith("degradation.")
        return
    assert list(directive.levels) == sorted(set(directive.levels))
    assert 0 <= directive.offload_share <= 1
    assert 0 <= directive.lighten_share <= 1
    assert 0 < directive.admit_scale <= 1
