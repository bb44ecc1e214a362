"""What is offered, by priority."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.admission.priority_histogram import BINS, PriorityHistogram, bin_of


def histogram(costs: dict[float, float]) -> PriorityHistogram:
    made = PriorityHistogram()
    for priority, cost in costs.items():
        made.add(bin_of(priority), cost)
    made.roll(0.1)
    return made


def test_every_priority_has_a_bin() -> None:
    assert (bin_of(0.0), bin_of(0.5), bin_of(1.0)) == (0, BINS // 2, BINS - 1)


def test_the_boundary_is_where_the_room_ends_counted_from_the_most_important() -> None:
    made = histogram({0.1: 2.0, 0.5: 4.0, 0.9: 2.0})
    assert made.boundary(1.0) == (-1, 1.0)
    assert made.boundary(0.5) == (bin_of(0.5), pytest.approx(0.5))
    assert made.boundary(0.1) == (bin_of(0.9), pytest.approx(0.4))
    assert made.boundary(0.0) == (bin_of(0.9), 0.0)


def test_cost_counts_and_not_the_number_of_requests() -> None:
    made = PriorityHistogram()
    for _ in range(100):
        made.add(bin_of(0.2), 0.01)
    made.add(bin_of(0.8), 9.0)
    made.roll(0.1)
    assert made.boundary(0.5)[0] == bin_of(0.8)


def test_nothing_offered_has_no_boundary() -> None:
    assert PriorityHistogram().boundary(0.5) == (-1, 1.0)
    assert PriorityHistogram().offered_per_s(2) == 0.0


def test_only_closed_windows_count_and_only_the_last_five() -> None:
    made = PriorityHistogram()
    made.add(3, 7.0)
    assert made.boundary(0.5) == (-1, 1.0)
    made.roll(0.1)
    for _ in range(5):
        made.add(100, 1.0)
        made.roll(0.1)
    assert made.boundary(0.999)[0] == 100


def test_rates_are_of_the_time_that_has_really_passed() -> None:
    made = PriorityHistogram()
    for elapsed_s in (0.1, 0.3):
        made.add(5, 1.0)
        made.roll(elapsed_s)
    assert made.offered_per_s(2) == pytest.approx(5.0)
    assert made.offered_per_s(1) == pytest.approx(1 / 0.3)


def test_a_pause_is_forgotten() -> None:
    made = histogram({0.5: 1.0})
    made.add(3, 1.0)
    made.clear()
    made.roll(0.1)
    assert made.boundary(0.5) == (-1, 1.0)


@given(
    st.dictionaries(st.floats(0, 1), st.floats(1e-6, 1e3), min_size=1, max_size=30),
    st.floats(min_value=0, max_value=1),
)
def test_what_lies_above_the_boundary_fits_and_with_the_part_it_fills_the_room(
    costs: dict[float, float], share: float
) -> None:
    boundary, part = histogram(costs).boundary(share)
    above = sum(cost for priority, cost in costs.items() if bin_of(priority) > boundary)
    inside = sum(cost for priority, cost in costs.items() if bin_of(priority) == boundary)
    room = share * sum(costs.values())
    assert 0.0 <= part <= 1.0
    assert above <= room * (1 + 1e-9)
    assert above + part * inside == pytest.approx(room) or boundary == -1
