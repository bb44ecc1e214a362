"""How many are open at a time, lately."""

from __future__ import annotations

from services.router.dispatch.batching_policy import PEAK_WINDOW_S, PeakInFlight


def test_a_batch_that_has_just_been_answered_is_not_missed() -> None:
    crowd = PeakInFlight()
    for number in range(1, 65):
        crowd.count(number, 1.0)
    # All of them are answered at once, and come again one by one.
    assert crowd.count(1, 1.0 + PEAK_WINDOW_S) == 64


def test_a_crowd_that_has_gone_home_is_forgotten() -> None:
    crowd = PeakInFlight()
    crowd.count(64, 1.0)
    assert crowd.count(1, 1.0 + 2 * PEAK_WINDOW_S) == 1


def test_a_few_callers_stay_a_few_however_fast_they_are() -> None:
    crowd = PeakInFlight()
    assert max(crowd.count(1 + number % 3, 1.0 + number * 1e-4) for number in range(5_000)) == 3
