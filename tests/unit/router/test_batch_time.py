"""What a profile says of a batch that was not measured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.workers.latency_model import DEFAULT_SPREAD, LONG_ENOUGH_S, BatchLatencyCurve
from sluice.domain.variant import BatchTime


def point(items: int, tokens: int, time_s: float, deviation_s: float = 0.0) -> BatchTime:
    return BatchTime(items=items, tokens=tokens, time_s=time_s, deviation_s=deviation_s)


STEADY = [point(items, 16, 0.001 + 0.0001 * items * 16) for items in (1, 4, 16, 64)]
points = st.builds(
    BatchTime,
    items=st.integers(0, 200),
    tokens=st.integers(0, 600),
    time_s=st.floats(0, 100) | st.just(float("nan")),
    deviation_s=st.floats(0, 100),
)


def test_a_measured_batch_takes_what_was_measured_and_one_between_what_lies_between() -> None:
    curve = BatchLatencyCurve(STEADY)
    assert curve.time_s(64) == pytest.approx(0.0074)
    assert curve.time_s(160) == pytest.approx(0.017)
    assert curve.measured


def test_beyond_what_was_measured_time_grows_with_the_tokens() -> None:
    curve = BatchLatencyCurve(STEADY)
    assert curve.time_s(2_048) == pytest.approx(2 * curve.time_s(1_024))
    assert curve.time_s(1) == curve.time_s(16)


def test_one_slow_run_does_not_scare_work_away() -> None:
    # As measured once on a busy machine: four short texts took eighty times as long as one.
    curve = BatchLatencyCurve([point(1, 16, 0.0152), point(4, 16, 1.304)])
    assert curve.time_s(64) < 0.1


def test_without_a_profile_there_is_a_guess_that_nobody_takes_for_more() -> None:
    curve = BatchLatencyCurve()
    assert not curve.measured
    assert curve.spread == DEFAULT_SPREAD
    assert 0 < curve.time_s(10) < curve.time_s(1_000) < 1


def test_the_spread_is_the_share_by_which_runs_differed() -> None:
    assert BatchLatencyCurve([point(1, 16, 0.01, 0.001), point(4, 16, 0.02, 0.006)]).spread == pytest.approx(0.2)


@given(st.lists(points, max_size=12), st.floats(1, 1e6), st.floats(1, 1e6))
def test_more_tokens_never_take_less_time_whatever_a_worker_claims(
    profile: list[BatchTime], one: float, other: float
) -> None:
    curve = BatchLatencyCurve(profile)
    small, large = sorted((one, other))
    assert 0 < curve.time_s(small) <= curve.time_s(large) * (1 + 1e-9)
    assert 0 < curve.spread <= 1


def test_a_batch_is_worth_a_tenth_of_a_second_and_no_more_where_the_device_is_used_well_by_then() -> None:
    slow = BatchLatencyCurve([point(items, 16, 0.01 * items) for items in (1, 4, 16, 64)])
    worth = slow.efficient_batch_tokens(16, 128, 1.0)
    assert worth < 128 * 16
    assert LONG_ENOUGH_S / 1.25 <= slow.time_s(worth) <= LONG_ENOUGH_S
    assert slow.efficient_batch_tokens(16, 128, 10.0) == 16
    assert 0.8 <= slow.time_s(slow.efficient_batch_tokens(16, 128, 1.0, long_enough_s=1.0)) <= 1.0


def test_a_device_that_needs_large_batches_gets_them() -> None:
    flat = BatchLatencyCurve([point(items, 16, 0.3 + 0.0001 * items) for items in (1, 4, 16, 64)])
    assert flat.efficient_batch_tokens(16, 64, 1.0) == 64 * 16


def test_a_fast_device_takes_all_that_it_may() -> None:
    assert BatchLatencyCurve(STEADY).efficient_batch_tokens(4, 128, 1.0) == 4 * 128
