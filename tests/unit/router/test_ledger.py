"""The router's books."""

from __future__ import annotations

from services.router.observability.stats import MOST_OUTCOMES, RequestStats, Window
from sluice.domain.errors import Reason


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_outcomes_are_counted_apart_by_model_tier_outcome_and_pool() -> None:
    ledger = RequestStats(clock=Clock())
    ledger.count("m", "light", "ok", "cold")
    ledger.count("m", "light", "ok", "cold")
    ledger.count("m", "light", "ok", "hot")
    ledger.count("m", "", Reason.SATURATED, "cold")
    assert ledger.outcomes["m", "light", "ok", "cold"] == 2
    assert ledger.outcomes["m", "light", "ok", "hot"] == 1
    # A reason and its text are one key, or a scrape would show the same outcome twice.
    assert ledger.outcomes["m", "", "rejected-saturated", "cold"] == 1
    assert sum(ledger.outcomes.values()) == 4


def test_the_last_window_is_the_second_before_and_never_a_part_of_one() -> None:
    clock = Clock()
    ledger = RequestStats(clock=clock)
    ledger.count("m", "light", "ok", "cold")
    ledger.count("m", "", Reason.EXPIRED, "cold")
    clock.now += 0.9
    assert ledger.last_window() == Window()
    clock.now += 0.1
    window = ledger.last_window()
    assert (window.ended, window.expired) == (2, 1)
    clock.now += 0.5
    assert ledger.last_window() == window


def test_a_quiet_second_is_all_zeros() -> None:
    clock = Clock()
    ledger = RequestStats(clock=clock)
    ledger.count("m", "light", "ok", "cold")
    clock.now += 1.0
    assert ledger.last_window().ended == 1
    clock.now += 1.0
    assert ledger.last_window() == Window()


def test_what_was_long_ago_is_not_the_last_second() -> None:
    clock = Clock()
    ledger = RequestStats(clock=clock)
    ledger.count("m", "light", "ok", "cold")
    clock.now += 60.0
    assert ledger.last_window() == Window()


def test_nothing_is_counted_in_two_windows_nor_lost_between_them() -> None:
    clock = Clock()
    ledger = RequestStats(clock=clock)
    total = 0
    for _ in range(40):
        ledger.count("m", "light", "ok", "cold")
        clock.now += 0.25
        before = ledger.last_window()
        if abs(clock.now % 1.0) < 1e-9:
            total += before.ended
    assert total == 40
    assert sum(ledger.outcomes.values()) == 40


def test_refusals_by_admission_are_told_from_other_ends() -> None:
    clock = Clock()
    ledger = RequestStats(clock=clock)
    ledger.count("", "", Reason.PRIORITY, "cold", times=3)
    ledger.count("m", "", Reason.SATURATED, "hot")
    ledger.count("m", "", Reason.EXPIRED, "cold")
    ledger.count("m", "light", "ok", "cold")
    clock.now += 1.0
    window = ledger.last_window()
    assert (window.ended, window.refused, window.expired) == (6, 4, 1)


def test_names_that_nobody_serves_do_not_fill_the_memory() -> None:
    ledger = RequestStats(clock=Clock())
    ledger.count("m", "light", "ok", "cold")
    for number in range(2 * MOST_OUTCOMES):
        ledger.count(f"made up {number}", "", Reason.UNKNOWN_MODEL, "cold")
    ledger.count("m", "light", "ok", "cold")
    assert len(ledger.outcomes) == MOST_OUTCOMES + 1
    assert sum(ledger.outcomes.values()) == 2 * MOST_OUTCOMES + 2
    assert ledger.outcomes["m", "light", "ok", "cold"] == 2
