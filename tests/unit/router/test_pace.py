"""What a router learns from the times of results."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.workers.latency_model import HALF_LIFE_S, WILDEST, SpeedFactor


def pace(*, has_profile: bool = True) -> SpeedFactor:
    return SpeedFactor(spread=0.1, has_profile=has_profile)


def test_without_results_the_profile_holds() -> None:
    assert (pace().ratio(5.0), pace().spread, pace().samples) == (1.0, 0.1, 0)


def test_a_lasting_change_is_learnt_in_a_few_half_lives() -> None:
    learnt = pace()
    for step in range(200):
        learnt.observe(0.01, 0.03, step * 0.1)
    assert learnt.ratio(20.0) == pytest.approx(3.0, rel=0.05)
    assert learnt.spread < 0.1


def test_without_a_profile_the_first_result_is_all_there_is_to_go_by() -> None:
    learnt = pace(has_profile=False)
    learnt.observe(0.01, 0.0002, 1.0)
    assert learnt.ratio(1.0) == pytest.approx(0.02)
    assert learnt.ratio(1_000.0) == pytest.approx(0.02)


def test_one_odd_batch_moves_it_no_further_than_it_may() -> None:
    learnt = pace()
    learnt.observe(0.01, 100.0, 1.0)
    assert learnt.ratio(1.0) <= WILDEST


def test_a_worker_that_was_slow_once_is_given_another_chance() -> None:
    learnt = pace()
    for step in range(100):
        learnt.observe(0.01, 0.1, step * 0.1)
    assert learnt.ratio(10.0) > 5
    assert learnt.ratio(10.0 + 8 * HALF_LIFE_S) < 2.5


def test_what_lasts_for_minutes_is_not_forgotten_in_a_pause() -> None:
    learnt = pace()
    for step in range(6_000):
        learnt.observe(0.01, 0.03, step * 0.1)
    assert learnt.ratio(700.0) == pytest.approx(3.0, rel=0.1)


def test_without_a_profile_one_hang_is_forgotten_too() -> None:
    learnt = pace(has_profile=False)
    for step in range(100):
        learnt.observe(0.01, 0.2, step * 0.1)
    learnt.observe(0.01, 30.0, 40.0)
    assert learnt.ratio(40.0) > 60
    assert learnt.ratio(40.0 + 8 * HALF_LIFE_S) < 30


def test_times_that_differ_widen_the_spread() -> None:
    steady, unsteady = pace(), pace()
    for step in range(100):
        steady.observe(0.01, 0.01, step * 0.1)
        unsteady.observe(0.01, 0.004 if step % 2 else 0.016, step * 0.1)
    assert steady.spread < 0.05 < 0.3 < unsteady.spread


@given(st.lists(st.tuples(st.floats(-1, 1e3), st.floats(-1, 1e9) | st.just(float("nan")), st.floats(0, 100))))
def test_whatever_is_reported_a_pace_stays_a_positive_number(reports: list[tuple[float, float, float]]) -> None:
    learnt = pace()
    now = 0.0
    for predicted_s, actual_s, later_s in reports:
        now += later_s
        learnt.observe(predicted_s, actual_s, now)
    assert 0 < learnt.ratio(now) < float("inf")
    assert 0 <= learnt.spread <= 1
