"""A level's switch never opens before its hold, and holds the longer the sooner it must close again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.control.degradation.hysteresis import (
    FORGET_S,
    LONGEST_HOLD_S,
    OPEN,
    REENTRY_S,
    UNMET,
    HoldTimer,
    SustainedCondition,
    smoothed,
)

pauses = st.floats(min_value=0, max_value=400)


def test_it_may_open_after_its_hold_and_not_before() -> None:
    latch = OPEN.close(100.0, hold_s=10.0)
    assert not latch.may_open(109.9)
    assert latch.may_open(110.0)
    assert not OPEN.may_open(1e9)


@pytest.mark.parametrize(
    ("open_s", "hold_s"), [(1.0, 20.0), (REENTRY_S, 20.0), (REENTRY_S + 1, 10.0), (FORGET_S, 10.0)]
)
def test_a_quick_return_doubles_the_hold(open_s: float, hold_s: float) -> None:
    latch = OPEN.close(0.0, hold_s=10.0).open(20.0).close(20.0 + open_s, hold_s=10.0)
    assert latch.hold_s == hold_s


def test_a_doubled_hold_is_kept_until_it_is_forgotten_and_never_exceeds_the_longest() -> None:
    latch, now = OPEN, 0.0
    for _ in range(10):
        latch = latch.close(now, hold_s=30.0)
        now += latch.hold_s
        latch = latch.open(now)
    assert latch.hold_s == LONGEST_HOLD_S
    assert latch.close(now + REENTRY_S + 1, hold_s=30.0).hold_s == LONGEST_HOLD_S
    assert latch.close(now + FORGET_S, hold_s=30.0).hold_s == 30.0


def test_what_was_taken_over_is_confirmed_by_its_own_condition_and_keeps_its_instant() -> None:
    latch = OPEN.close(5.0, hold_s=10.0, inherited=True)
    assert latch.inherited
    assert latch.close(7.0, hold_s=10.0, inherited=True) == latch
    assert latch.close(8.0, hold_s=10.0) == HoldTimer(on=True, changed_at=5.0, hold_s=10.0)


@given(st.lists(st.tuples(pauses, st.booleans()), max_size=40), st.sampled_from([0.0, 10.0, 30.0]))
def test_however_it_is_pulled_it_is_never_open_before_its_hold_and_the_hold_stays_in_its_bounds(
    pulls: list[tuple[float, bool]], hold_s: float
) -> None:
    latch, now, closed_at = OPEN, 0.0, 0.0
    for pause, close in pulls:
        now += pause
        before = latch
        if close:
            latch = latch.close(now, hold_s=hold_s)
            closed_at = closed_at if before.on else now
        elif latch.may_open(now):
            latch = latch.open(now)
            assert now - closed_at >= hold_s - 1e-3
        assert latch.hold_s in (0.0, hold_s) or hold_s < latch.hold_s <= LONGEST_HOLD_S


def test_a_condition_must_hold_without_a_break_and_the_unknown_is_one() -> None:
    condition = UNMET.step(True, 1.0).step(True, 1.5)
    assert condition == SustainedCondition(1.0)
    assert condition.lasts(0.5, 1.5)
    assert not condition.lasts(0.6, 1.5)
    for broken in (False, None):
        assert not condition.step(broken, 1.6).step(True, 1.7).lasts(0.5, 2.0)


@given(st.lists(st.none() | st.floats(min_value=0, max_value=1), max_size=30))
def test_a_mean_lies_between_its_samples_and_knows_only_what_they_know(samples: list[float | None]) -> None:
    mean: float | None = None
    since: list[float] = []
    for sample in samples:
        mean = smoothed(mean, sample, elapsed_s=0.1, time_constant_s=0.3)
        since = [] if sample is None else [*since, sample]
        assert (mean is None) is (sample is None)
        if mean is not None:
            assert min(since) - 1e-9 <= mean <= max(since) + 1e-9
