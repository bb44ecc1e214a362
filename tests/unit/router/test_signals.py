"""What the last second says about load."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.admission.load_signals import RouterSignals, Timeouts


def test_nothing_is_measured_before_anything_has_happened() -> None:
    signals = RouterSignals()
    assert (signals.refused_ratio, signals.standing_queue_delay_s, signals.median_timeout_s) == (None, None, None)
    signals.roll(0.0)
    assert (signals.refused_ratio, signals.standing_queue_delay_s, signals.median_timeout_s) == (None, 0.0, None)


def test_the_refused_ratio_is_of_what_was_offered_in_the_last_second() -> None:
    signals = RouterSignals()
    signals.offered(4)
    signals.refused(3)
    signals.roll(0.0)
    assert signals.refused_ratio == 0.75
    for _ in range(9):
        signals.offered()
        signals.roll(0.0)
    assert signals.refused_ratio == pytest.approx(3 / 13)
    signals.offered()
    signals.roll(0.0)
    assert signals.refused_ratio == 0.0


def test_a_queue_stands_only_if_it_was_never_short() -> None:
    signals = RouterSignals()
    for queue_s in (0.5, 0.3, 0.7):
        signals.roll(queue_s)
    assert signals.standing_queue_delay_s == 0.3
    signals.roll(0.0)
    assert signals.standing_queue_delay_s == 0.0
    for _ in range(10):
        signals.roll(0.4)
    assert signals.standing_queue_delay_s == 0.4


def test_the_median_time_limit_is_exact_when_callers_agree() -> None:
    signals = RouterSignals()
    for _ in range(100):
        signals.came_with(1.0)
    signals.roll(0.0)
    assert signals.median_timeout_s == pytest.approx(1.0)


def test_the_median_time_limit_is_of_the_last_second() -> None:
    signals = RouterSignals()
    signals.came_with(30.0)
    signals.roll(0.0)
    for _ in range(10):
        signals.came_with(0.2)
        signals.roll(0.0)
    assert signals.median_timeout_s == pytest.approx(0.2)


@pytest.mark.parametrize("seed", range(10))
def test_the_median_is_within_a_bin_of_the_true_one(seed: int) -> None:
    dice = random.Random(seed)
    timeouts = Timeouts(windows=2)
    given_s = [dice.lognormvariate(0.0, 1.5) for _ in range(999)]
    for value in given_s:
        timeouts.add(value)
    timeouts.roll()
    assert timeouts.median_s() == pytest.approx(statistics.median(given_s), rel=0.2)


@given(st.lists(st.floats(allow_nan=False), max_size=50))
def test_no_time_limit_is_too_odd_to_count(given_s: list[float]) -> None:
    timeouts = Timeouts(windows=1)
    for value in given_s:
        timeouts.add(value)
    timeouts.roll()
    median_s = timeouts.median_s()
    assert (median_s is None) == (not given_s)
    assert median_s is None or 1e-3 <= median_s <= 86_400 * (1 + 1e-9)
