"""The passing of time, and what is no passing of time."""

from __future__ import annotations

import pytest

from services.router.admission.controller import TickClock


def after(*times: float) -> tuple[list[float | None], TickClock]:
    ticks, now = TickClock(), 50.0
    ticks.tick(now)
    seen = []
    for passed in times:
        now += passed
        seen.append(ticks.tick(now))
    return seen, ticks


def test_the_first_look_has_nothing_to_compare_with() -> None:
    assert TickClock().tick(5.0) is None


def test_usual_looks_measure_the_time_between_them() -> None:
    seen, ticks = after(0.1, 0.12, 0.09)
    assert seen == [pytest.approx(0.1), pytest.approx(0.12), pytest.approx(0.09)]
    assert ticks.lag_s == 0.0


@pytest.mark.parametrize("jump_s", [-3600.0, -0.01, 0.0])
def test_a_clock_that_goes_back_says_nothing_and_is_followed(jump_s: float) -> None:
    seen, _ = after(0.1, jump_s, 0.1)
    assert seen == [pytest.approx(0.1), None, pytest.approx(0.1)]


def test_a_pause_of_the_process_is_no_overload() -> None:
    seen, ticks = after(0.1, 60.0, 0.1)
    assert seen == [pytest.approx(0.1), None, pytest.approx(0.1)]
    assert ticks.lag_s == 0.0


def test_a_loop_that_is_late_again_and_again_is_overloaded() -> None:
    seen, ticks = after(0.3, 0.25)
    assert seen[-1] == pytest.approx(0.25)
    assert ticks.lag_s == pytest.approx(0.13)
    seen, ticks = after(1.5, 2.0, 3.0)
    assert seen == [None, pytest.approx(2.0), pytest.approx(3.0)]
    assert ticks.lag_s == pytest.approx(1.88)
