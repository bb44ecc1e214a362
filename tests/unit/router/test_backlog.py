"""How much stands before a newcomer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.router.queueing.queue import BUCKET_S, MOST_BUCKETS, DeadlineHistogram

waiting = st.lists(st.tuples(st.floats(0, 20), st.integers(1, 500)), max_size=60)


@given(waiting, st.floats(0, 25))
def test_what_is_due_before_the_newcomer_is_never_forgotten_and_what_is_due_long_after_never_counted(
    tickets: list[tuple[float, int]], deadline: float
) -> None:
    backlog = DeadlineHistogram()
    for one in tickets:
        backlog.add(*one)
    ahead = backlog.ahead_of(deadline)
    before = sum(tokens for due, tokens in tickets if due <= deadline)
    about = sum(tokens for due, tokens in tickets if due <= deadline + BUCKET_S)
    scattered = len({int(due / BUCKET_S) for due, _ in tickets}) > MOST_BUCKETS
    assert before <= ahead <= (backlog.tokens if scattered else about)


@given(waiting)
def test_what_has_left_leaves_nothing_behind(tickets: list[tuple[float, int]]) -> None:
    backlog = DeadlineHistogram()
    for one in tickets:
        backlog.add(*one)
    for one in tickets:
        backlog.remove(*one)
    assert (backlog.items, backlog.tokens, backlog.ahead_of(1e9), len(backlog._buckets)) == (0, 0, 0, 0)


def test_deadlines_scattered_far_and_wide_count_as_ahead_all_of_them() -> None:
    backlog = DeadlineHistogram()
    for number in range(1_000):
        backlog.add(float(number), 1)
    assert backlog.ahead_of(0.0) == 1_000
