"""The share of a server that we use."""

from __future__ import annotations

import pytest

from sluice.engine.openai.streams import SlotUsage


def test_busy_seconds_are_weighed_by_the_places_that_are_taken() -> None:
    now = 10.0
    occupancy = SlotUsage(4, clock=lambda: now)
    now = 20.0
    assert occupancy.busy_s == 0
    with occupancy.taken():
        now = 24.0
        assert occupancy.busy_s == pytest.approx(1)
        with occupancy.taken():
            now = 26.0
            assert occupancy.busy_s == pytest.approx(2)
    now = 100.0
    assert occupancy.busy_s == pytest.approx(2)


def test_a_text_that_fails_leaves_its_place() -> None:
    now = 0.0
    occupancy = SlotUsage(1, clock=lambda: now)
    with pytest.raises(ValueError, match="x"), occupancy.taken():
        raise ValueError("x")
    now = 5.0
    assert occupancy.busy_s == 0
