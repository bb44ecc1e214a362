"""How fast requests come."""

from __future__ import annotations

import pytest

from services.router.dispatch.batching_policy import RATE_WINDOW_S, ArrivalRate


def feed(rate: ArrivalRate, *, start: float, per_second: float, requests: int) -> float:
    """`requests` evenly spaced arrivals; the rate after the last one."""
    seen = 0.0
    for number in range(requests):
        seen = rate.count(start + number / per_second)
    return seen


@pytest.mark.parametrize("per_second", [100.0, 1_000.0, 20_000.0])
def test_a_steady_stream_is_measured_as_it_is(per_second: float) -> None:
    windows = max(8, int(4 * RATE_WINDOW_S * per_second))
    assert feed(ArrivalRate(), start=1_000.0, per_second=per_second, requests=windows) == pytest.approx(
        per_second, rel=0.1
    )


def test_the_first_request_after_a_long_silence_meets_no_rate() -> None:
    rate = ArrivalRate()
    assert rate.count(86_400.0) < 1
    feed(rate, start=86_400.0, per_second=10_000, requests=2_000)
    assert rate.count(90_000.0) < 1


def test_a_caller_who_sends_one_after_the_other_is_never_taken_for_a_crowd() -> None:
    # Answered within 10 ms each, which is as fast as one waiting caller gets here.
    assert feed(ArrivalRate(), start=5.0, per_second=100, requests=500) < 150


def test_a_rise_is_seen_within_two_windows() -> None:
    rate = ArrivalRate()
    feed(rate, start=10.0, per_second=100, requests=100)
    assert feed(rate, start=11.0, per_second=10_000, requests=int(2 * RATE_WINDOW_S * 10_000)) > 5_000
