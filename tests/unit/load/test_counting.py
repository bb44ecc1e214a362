"""Histograms, intervals and windows: what is counted in parts adds up."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from sluice.load.histogram import LEAST_MS, PER_OCTAVE, Histogram
from sluice.load.kind import Kind
from sluice.load.result import wilson
from sluice.load.tally import Tally
from tests.unit.load.scenes import answer

durations = some.lists(some.floats(0, 1e6), min_size=1, max_size=200)
WIDTH = 2 ** (1 / PER_OCTAVE)


def filled(values: list[float]) -> Histogram:
    """A histogram of `values`."""
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(durations, some.floats(0.001, 1))
def test_a_percentile_is_never_too_low_and_at_most_a_bucket_too_high(values: list[float], share: float) -> None:
    true = max(LEAST_MS, sorted(values)[math.ceil(len(values) * share) - 1])
    found = filled(values).percentile_ms(share)
    assert found is not None
    assert true * (1 - 1e-9) <= found <= true * WIDTH * (1 + 1e-9)


@given(durations, durations)
def test_histograms_add_up_also_over_the_wire(one: list[float], other: list[float]) -> None:
    total = filled(one)
    total.merge(Histogram.from_json(json.loads(json.dumps(filled(other).to_json()))))
    assert total.buckets == filled(one + other).buckets
    assert total.count == len(one) + len(other)


@given(durations)
def test_the_mean_is_as_near_as_the_buckets_are_wide(values: list[float]) -> None:
    true = sum(max(LEAST_MS, value) for value in values) / len(values)
    assert filled(values).mean_ms() == pytest.approx(true, rel=WIDTH - 1)


def test_nothing_has_no_percentile_and_no_mean() -> None:
    assert Histogram().percentile_ms(0.5) is None
    assert Histogram().mean_ms() is None
    assert set(Histogram().summary().values()) == {None}


@given(some.integers(0, 10_000), some.integers(0, 10_000))
def test_an_interval_holds_its_share_and_is_sure_of_nothing_else(successes: int, failures: int) -> None:
    low, high = wilson(successes, successes + failures)
    share = successes / (successes + failures) if successes + failures else 0.5
    assert 0 <= low <= share <= high <= 1
    assert (low == 0) == (successes == 0)
    assert (high == 1) == (failures == 0)


def test_an_interval_as_it_is_in_print() -> None:
    # Newcombe 1998, Stat. Med. 17, table I: 81 of 263.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


events = some.tuples(some.sampled_from(Kind), some.booleans(), some.floats(0, 9), some.floats(0, 3))


def tallied(several: list[tuple[Kind, bool, float, float]]) -> Tally:
    """A tally of these ends."""
    tally = Tally(1.0)
    for kind, hot, scheduled_s, took_s in several:
        tally.offered(hot=hot, at_s=scheduled_s)
        tally.sent(at_s=scheduled_s, lag_ms=took_s)
        tally.ended(kind, hot=hot, at_s=scheduled_s + took_s, scheduled_s=scheduled_s, status=kind.upper())
    return tally


@given(some.lists(events, max_size=40), some.lists(events, max_size=40))
def test_what_processes_count_apart_is_what_one_would_have_counted(
    one: list[tuple[Kind, bool, float, float]], other: list[tuple[Kind, bool, float, float]]
) -> None:
    merged = Tally(1.0)
    for part in (tallied(one), tallied(other)):
        merged.merge(json.loads(json.dumps(part.drain())))
        assert part.drain() == {"windows": {}, "whole": {"counts": {}, "histograms": {}}}
    whole = tallied(one + other)
    assert merged.drain() == whole.drain()


@given(some.lists(events, max_size=40))
def test_everything_offered_ends_and_what_is_kept_was_good(several: list[tuple[Kind, bool, float, float]]) -> None:
    counts: dict[str, int] = {}
    for window in tallied(several).windows.values():
        for name, count in window.counts.items():
            counts[name] = counts.get(name, 0) + count
    for pool in ("hot", "cold"):
        assert counts.get(f"{pool}.offered", 0) == sum(counts.get(f"{pool}.{kind}", 0) for kind in Kind)
        assert counts.get(f"{pool}.kept", 0) == counts.get(f"{pool}.ok", 0)


def test_an_answer_tells_of_the_mesh() -> None:
    tally = Tally(1.0)
    response = answer(levels=["DEGRADATION_LEVEL_OFFLOAD", "DEGRADATION_LEVEL_ADMIT"], degraded_from="TIER_FULL")
    response.timing.queue.nanos = 5_000_000
    tally.answered(response, label="parcel", at_s=0.5)
    tally.answered(answer(), label="refund", at_s=0.5)
    row = tally.windows[0].report(0.0)
    assert row["levels"] == {"0": 1, "1+3": 1}
    assert row["tiers"] == {"light": 2}
    assert row["queue_ms"]["max"] == pytest.approx(5, rel=WIDTH - 1)
    assert tally.whole.counts["degraded_from.full"] == 1
    assert (tally.whole.counts["labels.right"], tally.whole.counts["labels.known"]) == (1, 2)
