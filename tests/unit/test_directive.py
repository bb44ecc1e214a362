"""What a member obeys."""

from __future__ import annotations

import random

import pytest

from sluice.directive import Directive, DirectiveState
from sluice.tier import Level


def directive(epoch: int, revision: int, *levels: Level, lease_s: float = 3.0) -> Directive:
    return Directive(epoch=epoch, revision=revision, levels=levels, lease_s=lease_s)


OFFLOAD = directive(5, 2, Level.OFFLOAD)


def obeying(first: Directive, now: float = 100.0) -> DirectiveState:
    state = DirectiveState()
    assert state.apply(first, now)
    return state


def test_a_member_that_was_told_nothing_is_on_its_own_at_full_service() -> None:
    state = DirectiveState()
    assert (state.current, state.levels) == (None, ())
    assert state.is_autonomous(0.0)


@pytest.mark.parametrize(
    ("version", "applied"),
    [((5, 1), False), ((4, 9), False), ((5, 2), False), ((5, 3), True), ((6, 1), True)],
    ids=["older-revision", "older-epoch", "equal", "newer-revision", "newer-epoch"],
)
def test_only_a_newer_directive_is_applied(version: tuple[int, int], *, applied: bool) -> None:
    state = obeying(OFFLOAD)
    assert state.apply(directive(*version, Level.ADMIT), 101.0) is applied
    assert state.levels == ((Level.ADMIT,) if applied else (Level.OFFLOAD,))
    assert state.current is not None
    assert state.current.version == (version if applied else (5, 2))


def test_an_equal_directive_renews_the_lease_and_an_older_one_does_not() -> None:
    state = obeying(OFFLOAD, now=100.0)
    state.apply(directive(5, 2, Level.OFFLOAD), 102.0)
    assert not state.is_autonomous(104.9)
    state.apply(directive(5, 1), 104.9)
    state.apply(directive(4, 7), 104.9)
    assert state.is_autonomous(105.1)


def test_the_lease_is_the_newest_directives_own() -> None:
    state = obeying(directive(1, 1, lease_s=1.0), now=0.0)
    assert state.apply(directive(1, 2, lease_s=10.0), 0.5)
    assert not state.is_autonomous(10.5)
    assert state.is_autonomous(10.6)


def test_silence_never_returns_to_full_service() -> None:
    state = obeying(OFFLOAD, now=0.0)
    assert state.is_autonomous(1e9)
    assert state.levels == (Level.OFFLOAD,)
    assert state.current == OFFLOAD


def test_a_governor_that_is_heard_again_directs_again() -> None:
    state = obeying(OFFLOAD, now=0.0)
    assert state.is_autonomous(50.0)
    assert not state.apply(OFFLOAD, 50.0)
    assert not state.is_autonomous(53.0)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_order_of_arrival_the_newest_directive_is_obeyed_in_the_end(seed: int) -> None:
    dice = random.Random(seed)
    sent = [directive(dice.randint(1, 3), revision, dice.choice(list(Level))) for revision in range(1, 30)]
    dice.shuffle(sent)
    state = DirectiveState()
    newest: tuple[int, int] = (0, 0)
    for now, one in enumerate([*sent, *sent[:5]]):
        assert state.apply(one, float(now)) is (one.version > newest)
        newest = max(newest, one.version)
        assert state.current is not None
        assert state.current.version == newest
        assert state.levels == state.current.levels
