"""Which of two governors directs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.governor.leadership import (
    FIRST_DISBELIEF_S,
    LONGEST_TRIAL_LEASES,
    MOST_LEASES,
    Leadership,
    Told,
)

LEASE_S = 3.0
WALL_S = 1.8e9


@pytest.fixture
def leadership() -> Leadership:
    return Leadership(lease_s=LEASE_S)


@pytest.mark.parametrize(
    ("obeyed", "is_directed", "is_standby"),
    [(200, True, True), (200, False, False), (100, True, False), (50, True, False)],
    ids=["alive and greater", "greater and silent", "itself", "lesser"],
)
def test_only_a_greater_epoch_that_is_alive_outranks(
    leadership: Leadership, obeyed: int, *, is_directed: bool, is_standby: bool
) -> None:
    leadership.hear(obeyed, mine=100, is_directed=is_directed, now=10.0, wall_s=WALL_S)
    assert leadership.is_standby(mine=100, now=10.0) is is_standby


def test_it_is_believed_for_a_lease_and_longer_the_longer_it_has_lived(leadership: Leadership) -> None:
    leadership.hear(200, mine=100, is_directed=True, now=10.0, wall_s=WALL_S)
    assert leadership.is_standby(mine=100, now=13.0)
    assert not leadership.is_standby(mine=100, now=13.1)
    leadership.hear(200, mine=100, is_directed=True, now=20.0, wall_s=WALL_S)
    assert leadership.is_standby(mine=100, now=30.0)
    assert not leadership.is_standby(mine=100, now=30.1)
    leadership.hear(200, mine=100, is_directed=True, now=5_000.0, wall_s=WALL_S)
    assert leadership.is_standby(mine=100, now=5_000.0 + MOST_LEASES * LEASE_S)
    assert not leadership.is_standby(mine=100, now=5_000.1 + MOST_LEASES * LEASE_S)


def test_who_has_taken_a_greater_epoch_is_outranked_no_more(leadership: Leadership) -> None:
    leadership.hear(200, mine=100, is_directed=True, now=10.0, wall_s=WALL_S)
    assert not leadership.is_standby(mine=201, now=10.0)
    assert leadership.rival == 200


def test_an_epoch_that_cannot_be_is_no_claim(leadership: Leadership) -> None:
    told = leadership.hear(2**63, mine=100, is_directed=True, now=10.0, wall_s=WALL_S)
    assert told is Told.IMPLAUSIBLE
    assert not leadership.is_standby(mine=100, now=10.0)


def test_a_member_that_comes_back_without_a_governor_refutes_the_claim_and_others_do_not(
    leadership: Leadership,
) -> None:
    leadership.hear(200, mine=100, is_directed=True, now=10.0, wall_s=WALL_S)
    leadership.hear(200, mine=100, is_directed=True, now=12.9, wall_s=WALL_S)
    # Nobody directed this one before the claim either.
    leadership.hear(100, mine=100, is_directed=False, now=11.0, wall_s=WALL_S)
    leadership.hear(100, mine=100, is_directed=True, now=13.0, wall_s=WALL_S)
    assert leadership.is_standby(mine=100, now=13.0)
    leadership.hear(100, mine=100, is_directed=False, now=13.0, wall_s=WALL_S)
    assert not leadership.is_standby(mine=100, now=13.0)
    assert leadership.disbelieves(13.0 + FIRST_DISBELIEF_S - 0.1)
    leadership.hear(200, mine=100, is_directed=True, now=20.0, wall_s=WALL_S)
    assert not leadership.is_standby(mine=100, now=20.0)


steps = st.lists(
    st.tuples(
        st.floats(0, 30),
        st.sampled_from([50, 100, 101, 200, int(WALL_S * 1e9), 2**64 - 1]),
        st.booleans(),
    ),
    max_size=60,
)


@given(steps)
def test_no_words_keep_it_in_stand_by_for_longer_than_a_trial(said: list[tuple[float, int, bool]]) -> None:
    leadership, now = Leadership(lease_s=LEASE_S), 1_000.0
    stood_since: float | None = None
    for wait_s, obeyed, is_directed in said:
        now += wait_s
        leadership.hear(obeyed, mine=100, is_directed=is_directed, now=now, wall_s=WALL_S)
        if not leadership.is_standby(mine=100, now=now):
            stood_since = None
            continue
        stood_since = now if stood_since is None else stood_since
        # A trial may end and another begin between two words that are further apart than the pause between them.
        assert now - stood_since <= LONGEST_TRIAL_LEASES * LEASE_S or wait_s > LEASE_S
        if wait_s > LEASE_S:
            stood_since = now
    assert not leadership.is_standby(mine=100, now=now + MOST_LEASES * LEASE_S + 0.1)


@given(st.lists(st.floats(0.5, 2.5), min_size=200, max_size=400))
def test_a_liar_costs_members_less_the_longer_it_goes_on(pauses: list[float]) -> None:
    leadership, now, lost_s = Leadership(lease_s=LEASE_S), 1_000.0, 0.0
    for wait_s in pauses:
        now += wait_s
        leadership.hear(200, mine=100, is_directed=True, now=now, wall_s=WALL_S)
        if leadership.is_standby(mine=100, now=now):
            lost_s += wait_s
            leadership.hear(100, mine=100, is_directed=False, now=now, wall_s=WALL_S)
    assert lost_s <= 4 * (LEASE_S + 5.0)
