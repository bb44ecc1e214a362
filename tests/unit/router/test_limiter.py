"""The admission law, step by step."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.admission.limiter import QueueDelayLimiter


def tick(limiter: QueueDelayLimiter, **values: Any) -> None:
    usual = {
        "elapsed_s": 0.1,
        "queue_s": 0.02,
        "target_s": 0.02,
        "patience_s": 0.1,
        "capacity_per_s": 1.0,
        "offered_per_s": 2.0,
    }
    limiter.tick(**{**usual, **values})


def acting(**values: Any) -> QueueDelayLimiter:
    limiter = QueueDelayLimiter()
    tick(limiter, queue_s=1.0, **values)
    assert limiter.acting
    return limiter


def test_a_burst_that_passes_is_let_in() -> None:
    limiter = QueueDelayLimiter()
    for queue_s in (0.15, 0.05, 0.15, 0.05):
        tick(limiter, queue_s=queue_s)
        assert (limiter.acting, limiter.share) == (False, 1.0)


def test_a_queue_that_stands_too_long_is_acted_upon_at_the_second_look_and_a_glaring_one_at_once() -> None:
    limiter = QueueDelayLimiter()
    tick(limiter, queue_s=0.15)
    assert not limiter.acting
    tick(limiter, queue_s=0.15)
    assert limiter.acting
    glaring = QueueDelayLimiter()
    tick(glaring, queue_s=0.25)
    assert glaring.acting


@pytest.mark.parametrize("unknown", [{"capacity_per_s": 0.0}, {"offered_per_s": 0.0}])
def test_nobody_is_refused_before_anybody_was_served_or_came(unknown: dict[str, float]) -> None:
    limiter = QueueDelayLimiter()
    for _ in range(5):
        tick(limiter, queue_s=5.0, **unknown)
        assert (limiter.acting, limiter.share) == (False, 1.0)
    tick(limiter, queue_s=5.0)
    assert limiter.acting


def test_at_the_set_point_just_what_can_be_served_is_let_in() -> None:
    limiter = acting()
    for _ in range(3):
        tick(limiter)
    assert limiter.share == pytest.approx(0.5, abs=0.05)


def test_the_longer_the_queue_the_less_is_let_in_but_never_nothing() -> None:
    shares = []
    for queue_s in (0.02, 0.1, 0.2, 0.3, 5.0):
        limiter = acting()
        tick(limiter, queue_s=queue_s)
        shares.append(limiter.share)
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1] > 0.1


def test_an_error_that_stays_is_integrated_away() -> None:
    limiter = acting()
    tick(limiter, queue_s=0.06)
    first = limiter.share
    for _ in range(20):
        tick(limiter, queue_s=0.06)
    assert limiter.share < first


def test_a_short_queue_makes_it_look_for_more_room_until_it_has_found_some() -> None:
    limiter = acting()
    shares = []
    for _ in range(5):
        tick(limiter, queue_s=0.0, offered_per_s=5.0)
        shares.append(limiter.share)
    assert shares == sorted(shares)
    assert shares[-1] > 1.4 / 5.0
    tick(limiter, queue_s=0.02, offered_per_s=5.0)
    assert limiter.share < shares[-1]


def test_it_opens_again_when_the_queue_stays_short_and_everything_fits() -> None:
    limiter = acting()
    for _ in range(3):
        tick(limiter, queue_s=0.0, offered_per_s=0.8)
        # Waiting costs nobody anything: all that is offered has room.
        assert limiter.share > 0.6
    for _ in range(3):
        tick(limiter, queue_s=0.0, offered_per_s=0.8)
    assert (limiter.acting, limiter.share) == (False, 1.0)


def test_it_does_not_open_while_more_is_offered_than_there_is_room_for() -> None:
    limiter = acting()
    for _ in range(20):
        tick(limiter, queue_s=0.0, offered_per_s=5.0)
    assert limiter.acting


def test_a_queue_that_grows_shorter_by_itself_costs_nobody_a_refusal() -> None:
    limiter = acting()
    tick(limiter, queue_s=0.09, offered_per_s=0.8)
    assert limiter.share == 1.0
    tick(limiter, queue_s=0.5, offered_per_s=0.8)
    assert limiter.share < 1.0


def test_when_nothing_is_offered_nothing_is_refused() -> None:
    limiter = acting()
    tick(limiter, queue_s=0.5, offered_per_s=0.0)
    assert limiter.share == 1.0


times = st.floats(min_value=0, max_value=1e6)


@given(
    st.lists(st.tuples(st.floats(min_value=1e-3, max_value=10), times, times, times), max_size=50),
    st.floats(min_value=1e-3, max_value=10),
)
def test_the_share_is_always_one(looks: list[tuple[float, float, float, float]], target_s: float) -> None:
    limiter = QueueDelayLimiter()
    for elapsed_s, queue_s, capacity_per_s, offered_per_s in looks:
        limiter.tick(
            elapsed_s=elapsed_s,
            queue_s=queue_s,
            target_s=target_s,
            patience_s=2 * target_s,
            capacity_per_s=capacity_per_s,
            offered_per_s=offered_per_s,
        )
        assert 0.0 <= limiter.share <= 1.0
        assert limiter.acting or limiter.share == 1.0
