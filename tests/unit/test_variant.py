"""A card is taken whole and within its bounds, or refused by the name of the field at fault."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from sluice.domain.enums import Task, Tier
from sluice.domain.variant import MAX_VARIANTS, Variant, check, from_proto, to_proto, variants_from_proto
from sluice.v1 import model_pb2
from tests.unit import strategies as some

GOOD = Variant(id="m/light-fp32", model="m", tier=Tier.LIGHT, task=Task.TEXT_CLASSIFICATION)
HOUR_S = 3_600

Change = Callable[[model_pb2.Variant], object]


def card() -> model_pb2.Variant:
    return to_proto(GOOD)


def point(message: model_pb2.Variant, **fields: object) -> object:
    good: dict[str, object] = {"items": 1, "tokens": 16, "time": Duration(nanos=10**6)}
    return message.profile.add(**good | fields)  # type: ignore[arg-type]


def rename(message: model_pb2.Variant, model: str) -> None:
    message.model, message.id = model, f"{model}/light-fp32"


BAD: dict[str, tuple[str, Change]] = {
    "no tier": ("tier", lambda one: one.ClearField("tier")),
    "unknown tier": ("tier", lambda one: setattr(one, "tier", 77)),
    "negative tier": ("tier", lambda one: setattr(one, "tier", -1)),
    "no task": ("task", lambda one: one.ClearField("task")),
    "unknown task": ("task", lambda one: setattr(one, "task", 2**31 - 1)),
    "no state": ("state", lambda one: one.ClearField("state")),
    "no id": ("id", lambda one: one.ClearField("id")),
    "another's id": ("id", lambda one: setattr(one, "model", "n")),
    "no model": ("model", lambda one: rename(one, "")),
    "long model": ("model", lambda one: rename(one, "m" * 129)),
    "model with a line feed": ("id", lambda one: rename(one, "m\nn")),
    "no precision": ("precision", lambda one: one.ClearField("precision")),
    "long device": ("device", lambda one: setattr(one, "device", "d" * 65)),
    "megabytes of label": ("labels[0]", lambda one: one.labels.append("x" * 3_000_000)),
    "many labels": ("labels", lambda one: one.labels.extend(map(str, range(65_537)))),
    "labels of 2 MiB": ("labels", lambda one: one.labels.extend(["x" * 1_024] * 2_048)),
    "no tokens": ("max_tokens", lambda one: one.ClearField("max_tokens")),
    "4 billion tokens": ("max_tokens", lambda one: setattr(one, "max_tokens", 2**32 - 1)),
    "no batch": ("max_batch_size", lambda one: one.ClearField("max_batch_size")),
    "endless batch": ("max_batch_size", lambda one: setattr(one, "max_batch_size", 2**32 - 1)),
    "quality above 1": ("quality", lambda one: setattr(one, "quality", 1.5)),
    "quality below 0": ("quality", lambda one: setattr(one, "quality", -0.1)),
    "quality no number": ("quality", lambda one: setattr(one, "quality", float("nan"))),
    "bucket no number": ("quality_by_complexity[1]", lambda one: one.quality_by_complexity.extend([1, float("nan")])),
    "endless bucket": ("quality_by_complexity[0]", lambda one: one.quality_by_complexity.append(float("inf"))),
    "many buckets": ("quality_by_complexity", lambda one: one.quality_by_complexity.extend([1.0] * 65)),
    "no time": ("profile[0].time", lambda one: point(one, time=Duration())),
    "negative time": ("profile[0].time", lambda one: point(one, time=Duration(seconds=-5))),
    "10,000 years": ("profile[0].time", lambda one: point(one, time=Duration(seconds=315_576_000_000))),
    "nanos beyond a second": ("profile[0].time", lambda one: point(one, time=Duration(seconds=HOUR_S, nanos=10**9))),
    "negative deviation": ("profile[1].deviation", lambda one: (point(one), point(one, deviation=Duration(nanos=-1)))),
    "no items": ("profile[0].items", lambda one: point(one, items=0)),
    "4 billion items": ("profile[0].items", lambda one: point(one, items=2**32 - 1)),
    "no tokens in a point": ("profile[0].tokens", lambda one: point(one, tokens=0)),
    "many points": ("profile", lambda one: [point(one) for _ in range(1_025)]),
    "endless cache": ("cache_tokens", lambda one: setattr(one, "cache_tokens", 2**64 - 1)),
    "endless generations": ("max_generations", lambda one: setattr(one, "max_generations", 2**32 - 1)),
    "endless token": ("max_token_bytes", lambda one: setattr(one, "max_token_bytes", 2**32 - 1)),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_out_of_bounds_is_refused_by_its_fields_name(case: str) -> None:
    field, change = BAD[case]
    message = card()
    change(message)
    with pytest.raises(ValueError) as error:  # noqa: PT011  the name is looked at
        from_proto(message)
    assert str(error.value).startswith(f"{field}: ")
    assert len(str(error.value)) < 400


def test_a_list_of_variants_names_the_place_of_the_one_at_fault() -> None:
    other = card()
    rename(other, "n")
    other.profile.add(items=1, tokens=1, time=Duration(seconds=-1))
    with pytest.raises(ValueError, match=r"^variants\[1\]\.profile\[0\]\.time: "):
        variants_from_proto([card(), other])
    with pytest.raises(ValueError, match=r"^variants\[1\]\.id: .* twice"):
        variants_from_proto([card(), card()])
    with pytest.raises(ValueError, match=r"^variants: there are 257"):
        variants_from_proto([card()] * (MAX_VARIANTS + 1))


@given(some.variants)
def test_what_is_within_bounds_is_taken(variant: Variant) -> None:
    assert variants_from_proto([to_proto(variant)]) == (variant,)


@given(
    st.builds(
        model_pb2.Variant,
        id=st.sampled_from(["m/light-fp32", "m/full-fp32", ""]),
        model=st.sampled_from(["m", ""]),
        tier=st.integers(-(2**31), 2**31 - 1) | st.just(2),
        task=st.integers(-(2**31), 2**31 - 1) | st.just(1),
        precision=st.just("fp32"),
        max_tokens=some.uint32,
        max_batch_size=some.uint32,
        quality=st.floats() | st.none(),
        quality_by_complexity=st.lists(st.floats(), max_size=3),
        profile=st.lists(
            st.builds(
                model_pb2.BatchTime,
                items=some.uint32,
                tokens=some.uint32,
                time=st.builds(
                    Duration, seconds=st.integers(-(2**63), 2**63 - 1), nanos=st.integers(-(2**31), 2**31 - 1)
                ),
            ),
            max_size=3,
        ),
        state=st.sampled_from([1, 2, 3]),
    )
)
def test_any_numbers_make_a_checked_variant_or_a_value_error(message: model_pb2.Variant) -> None:
    _check_or_refuse(message)


def _check_or_refuse(message: model_pb2.Variant) -> None:
    try:
        variant = from_proto(message)
    except ValueError as error:
        field = str(error).split(":", 1)[0].split("[", 1)[0]
        assert field in model_pb2.Variant.DESCRIPTOR.fields_by_name
        return
    check(variant)
    assert variant.tier
    assert 1 <= variant.max_batch_size <= 65_536
    assert all(0 < point.time_s <= HOUR_S for point in variant.profile)
