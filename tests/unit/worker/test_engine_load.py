"""The engine's busy share, whoever asks for it and how often."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.worker.resources.aggregate import WINDOW_S, BusyRatio


class Engine:
    """A clock, and an engine that is busy or not while it runs."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.busy_s = 0.0
        self.load = BusyRatio(lambda: self.busy_s, clock=lambda: self.now)

    def runs(self, seconds: float, *, busy: float = 0.0) -> None:
        self.now += seconds
        self.busy_s += seconds * busy

    def reads(self) -> float | None:
        return self.load.read().utilization


def test_nothing_is_known_in_the_first_moments() -> None:
    engine = Engine()
    engine.runs(0.01, busy=1)
    assert engine.reads() is None
    engine.runs(0.09, busy=1)
    assert engine.reads() == pytest.approx(1.0)


@pytest.mark.parametrize("every_s", [0.01, 0.1, 0.5, 2.0])
def test_it_is_the_share_of_at_least_the_last_half_second_however_often_it_is_read(every_s: float) -> None:
    engine = Engine()
    for _ in range(round(6 / every_s)):
        engine.runs(every_s, busy=0.3)
        engine.reads()
    assert engine.reads() == pytest.approx(0.3)
    for _ in range(round(2 / every_s)):
        engine.runs(every_s, busy=0.9)
        engine.reads()
    assert engine.reads() == pytest.approx(0.9)


def test_two_who_read_do_not_take_the_window_from_each_other() -> None:
    engine = Engine()
    engine.runs(1.0, busy=0.5)
    engine.reads()
    engine.runs(1.0, busy=0.5)
    assert engine.reads() == pytest.approx(0.5)
    engine.runs(0.001)
    assert engine.reads() == pytest.approx(0.5, abs=0.01)


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-1, 3)), max_size=60))
def test_whatever_the_clocks_do_it_is_a_share_or_unknown(moves: list[tuple[float, float]]) -> None:
    engine = Engine()
    for seconds, busy in moves:
        engine.runs(seconds, busy=busy)
        share = engine.reads()
        assert share is None or 0.0 <= share <= 1.0
        assert len(engine.load._looks) <= WINDOW_S / 0.05 + 2 + 60
