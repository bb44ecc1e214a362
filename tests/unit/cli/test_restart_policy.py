"""When a service is started again: backoff over fast deaths, forgotten after a stable run, and an end to it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluice.cli.supervisor import (
    FIRST_BACKOFF_S,
    MAX_BACKOFF_S,
    MAX_FAST_DEATHS,
    STABLE_S,
    RestartHistory,
)

fast = st.one_of(st.none(), st.floats(0, STABLE_S, exclude_max=True))
stable = st.floats(STABLE_S, 1e9)


def after(*lives: float | None) -> RestartHistory:
    history = RestartHistory()
    for life in lives:
        history = history.on_worker_death(ready_for_s=life)
    return history


@given(st.lists(fast, max_size=MAX_FAST_DEATHS - 1))
def test_fast_deaths_double_the_backoff_up_to_its_limit(lives: list[float | None]) -> None:
    waits = [after(*lives[:count]).backoff_s for count in range(1, len(lives) + 1)]
    assert waits == [min(FIRST_BACKOFF_S * 2**place, MAX_BACKOFF_S) for place in range(len(lives))]
    assert not after(*lives).gives_up


@given(st.lists(st.one_of(fast, stable)), st.lists(fast, min_size=MAX_FAST_DEATHS))
def test_only_fast_deaths_in_a_row_give_a_service_up(before: list[float | None], last: list[float | None]) -> None:
    assert after(*before, *last).gives_up


@given(st.lists(st.one_of(fast, stable)), stable)
def test_a_stable_run_is_started_again_at_the_first_backoff_whatever_was_before(
    before: list[float | None], last: float
) -> None:
    history = after(*before, last)
    assert not history.gives_up
    assert history.backoff_s == FIRST_BACKOFF_S


@given(st.integers(0, 10_000))
def test_the_backoff_is_bounded(fast_deaths: int) -> None:
    assert FIRST_BACKOFF_S <= RestartHistory(fast_deaths=min(fast_deaths, 500)).backoff_s <= MAX_BACKOFF_S
