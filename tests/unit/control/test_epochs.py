"""Epochs: start times with a random tail, believed a day ahead and no further, whatever clocks show."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from sluice.control.epochs import (
    BELIEVED_AHEAD_S,
    LAST_EPOCH,
    TAIL_BITS,
    TAKEN_AHEAD_S,
    epoch_above,
    is_plausible,
    latest_epoch,
    new_epoch,
    resumed_epoch,
)

# From 1938 to long after the last nanosecond that an epoch can hold.
walls = st.floats(min_value=-1e9, max_value=1e12)
clocks = st.floats(min_value=1.0, max_value=1e10)
dice = st.integers(0, 2**32).map(Random)
epochs = st.integers(0, LAST_EPOCH)
TAIL_S = 2**TAIL_BITS / 1e9


@given(walls, dice)
def test_every_clock_gives_an_epoch_that_can_be_sent_and_that_it_believes(wall_s: float, dice: Random) -> None:
    epoch = new_epoch(wall_s, dice)
    assert 1 <= epoch <= LAST_EPOCH
    assert is_plausible(epoch, max(wall_s, 0.0))


@given(clocks, dice)
def test_who_starts_later_has_the_greater_epoch_and_who_starts_together_another_one(
    wall_s: float, dice: Random
) -> None:
    assert new_epoch(wall_s + 2 * TAIL_S + 1e-5, dice) > new_epoch(wall_s, dice)
    assert len({new_epoch(wall_s, dice) for _ in range(20)}) == 20


@given(epochs, clocks)
def test_what_is_believed_ends_a_day_ahead(epoch: int, wall_s: float) -> None:
    assert is_plausible(epoch, wall_s) is (epoch <= latest_epoch(wall_s))
    assert abs(latest_epoch(wall_s) - (wall_s + BELIEVED_AHEAD_S) * 1e9) < 1e4


@given(epochs, walls, dice)
def test_an_epoch_is_passed_by_one_that_members_an_hour_behind_believe_or_not_at_all(
    epoch: int, wall_s: float, dice: Random
) -> None:
    above = epoch_above(epoch, wall_s, dice)
    if above is None:
        assert epoch + 2 ** (TAIL_BITS + 1) > latest_epoch(wall_s, ahead_s=TAKEN_AHEAD_S)
    else:
        assert epoch < above <= epoch + 2 ** (TAIL_BITS + 1)
        assert is_plausible(above, wall_s - (BELIEVED_AHEAD_S - TAKEN_AHEAD_S) + 1e-3)


@given(st.none() | st.integers(-(2**70), 2**70), clocks, dice)
def test_a_journal_is_passed_where_it_can_be_true_and_healed_where_it_cannot(
    kept: int | None, wall_s: float, dice: Random
) -> None:
    fresh, latest = new_epoch(wall_s, dice), latest_epoch(wall_s)
    epoch = resumed_epoch(kept, fresh, latest=latest)
    assert fresh <= epoch <= latest
    if kept is not None and kept < latest:
        assert epoch > kept
    else:
        assert epoch == fresh
