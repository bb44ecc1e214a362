"""What the last second says about load."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.admission.load_signals import LoadSignals, RouterSignals, TimeoutMedian


def test_nothing_is_measured_before_anything_has_happened() -> None:
    signals, router = LoadSignals(), RouterSignals()
    for one in (signals, router):
        assert (one.queue_delay_s, one.standing_queue_delay_s, one.median_timeout_s) == (None, None, None)
    assert router.refused_ratio is None
    signals.roll(0.0)
    router.roll([signals])
    for one in (signals, router):
        assert (one.queue_delay_s, one.standing_queue_delay_s, one.median_timeout_s) == (None, 0.0, None)
    assert router.refused_ratio is None


def test_the_refused_ratio_is_of_what_was_offered_in_the_last_second() -> None:
    signals = RouterSignals()
    signals.offered(4)
    signals.refused(3)
    signals.roll([])
    assert signals.refused_ratio == 0.75
    for _ in range(9):
        signals.offered()
        signals.roll([])
    assert signals.refused_ratio == pytest.approx(3 / 13)
    signals.offered()
    signals.roll([])
    assert signals.refused_ratio == 0.0


def test_a_queue_stands_only_if_it_was_never_short() -> None:
    signals = LoadSignals()
    for queue_s in (0.5, 0.3, 0.7):
        signals.roll(queue_s)
    assert signals.standing_queue_delay_s == 0.3
    signals.roll(0.0)
    assert signals.standing_queue_delay_s == 0.0
    for _ in range(10):
        signals.roll(0.4)
    assert signals.standing_queue_delay_s == 0.4


def test_the_mean_wait_is_of_what_was_answered_in_the_last_second() -> None:
    signals = LoadSignals()
    for queue_s in (0.2, 0.4):
        signals.waited(queue_s)
    signals.roll(0.0)
    assert signals.queue_delay_s == pytest.approx(0.3)
    for _ in range(10):
        signals.roll(0.0)
    assert signals.queue_delay_s is None


def test_the_median_time_limit_is_exact_when_callers_agree() -> None:
    signals = LoadSignals()
    for _ in range(100):
        signals.came_with(1.0)
    signals.roll(0.0)
    assert signals.median_timeout_s == pytest.approx(1.0)


def test_the_median_time_limit_is_of_the_last_second() -> None:
    signals = LoadSignals()
    signals.came_with(30.0)
    signals.roll(0.0)
    for _ in range(10):
        signals.came_with(0.2)
        signals.roll(0.0)
    assert signals.median_timeout_s == pytest.approx(0.2)


def test_a_router_tells_of_the_resource_whose_callers_patience_is_taken_most_and_of_nothing_else() -> None:
    def resource(queue_s: float, timeout_s: float) -> LoadSignals:
        made = LoadSignals()
        made.came_with(timeout_s)
        made.waited(queue_s)
        made.roll(queue_s)
        return made

    router = RouterSignals()
    # Five seconds of five minutes are nothing beside a fifth of a second of one.
    router.roll([resource(5.0, 300.0), resource(0.2, 1.0), resource(0.0, 0.1)])
    told = router.queue_delay_s, router.standing_queue_delay_s, router.median_timeout_s
    assert told == (pytest.approx(0.2), 0.2, pytest.approx(1.0))


@pytest.mark.parametrize("seed", range(10))
def test_the_median_is_within_a_bin_of_the_true_one(seed: int) -> None:
    dice = random.Random(seed)
    timeouts = TimeoutMedian(windows=2)
    given_s = [dice.lognormvariate(0.0, 1.5) for _ in range(999)]
    for value in given_s:
        timeouts.add(value)
    timeouts.roll()
    assert timeouts.median_s() == pytest.approx(statistics.median(given_s), rel=0.2)


@given(st.lists(st.floats(allow_nan=False), max_size=50))
def test_no_time_limit_is_too_odd_to_count(given_s: list[float]) -> None:
    timeouts = TimeoutMedian(windows=1)
    for value in given_s:
        timeouts.add(value)
    timeouts.roll()
    median_s = timeouts.median_s()
    assert (median_s is None) == (not given_s)
    assert median_s is None or 1e-3 <= median_s <= 86_400 * (1 + 1e-9)
