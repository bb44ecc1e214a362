"""When levels that members hold are taken over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.governor.leadership import CLEARED_S, FIRST_GAP_S, LONGEST_GAP_S, WARM_S, Inheritance


def test_a_start_and_a_sleep_are_warm_and_an_operators_word_closes_its_ears() -> None:
    inheritance = Inheritance(now=100.0)
    assert inheritance.is_warm(100.0 + WARM_S - 0.1)
    assert not inheritance.is_warm(100.0 + WARM_S)
    inheritance.warm_up(200.0)
    assert inheritance.can_accept(200.0, is_warm=True)
    inheritance.clear(201.0)
    assert not inheritance.can_accept(201.0, is_warm=True)
    assert inheritance.can_accept(201.0 + CLEARED_S, is_warm=True)


def test_stragglers_come_together_or_wait() -> None:
    inheritance, now = Inheritance(now=0.0), 1_000.0
    assert inheritance.can_accept(now, is_warm=False)
    assert inheritance.can_accept(now + WARM_S - 0.1, is_warm=False)
    assert not inheritance.can_accept(now + WARM_S + FIRST_GAP_S - 0.1, is_warm=False)
    assert inheritance.can_accept(now + WARM_S + FIRST_GAP_S, is_warm=False)
    assert not inheritance.can_accept(now + 2 * (WARM_S + FIRST_GAP_S) + 10.0, is_warm=False)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=400))
def test_however_often_they_come_they_are_heard_ever_less(pauses: list[float]) -> None:
    inheritance, now, windows = Inheritance(now=0.0), 1_000.0, set[int]()
    for pause_s in pauses:
        now += pause_s
        if inheritance.can_accept(now, is_warm=False):
            windows.add(round(inheritance._window_ends_at))
    # The gaps double: within a time t there are about as many windows as t / 60 s can be halved.
    assert 2 ** (len(windows) - 1) <= (now - 1_000.0) / FIRST_GAP_S + 2


def test_after_an_hour_of_quiet_the_gap_is_short_again() -> None:
    inheritance, now = Inheritance(now=0.0), 1_000.0
    for _ in range(5):
        while not inheritance.can_accept(now, is_warm=False):
            now += 1.0
        now += WARM_S
    now += LONGEST_GAP_S + FIRST_GAP_S * 2**5
    assert inheritance.can_accept(now, is_warm=False)
    assert inheritance.can_accept(now + WARM_S + FIRST_GAP_S, is_warm=False)
