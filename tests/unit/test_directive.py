"""What a member obeys."""

from __future__ import annotations

import random

import pytest

from sluice.control.degradation.level_state import DegradationState
from sluice.control.directive import HAND_BACK_S, ActiveDirective, Directive, Verdict, judge
from sluice.domain.enums import Level, Precision


def directive(epoch: int, revision: int, *levels: Level, lease_s: float = 3.0) -> Directive:
    return Directive(epoch=epoch, revision=revision, levels=levels, lease_s=lease_s)


OFFLOAD = directive(5, 2, Level.OFFLOAD)


def obeying(first: Directive, now: float = 100.0) -> ActiveDirective:
    state = ActiveDirective()
    assert state.apply(first, now)
    return state


def test_a_member_that_was_told_nothing_is_on_its_own_at_full_service() -> None:
    state = ActiveDirective()
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
    sent = [
        directive(dice.randint(1, 3), revision, dice.choice(list(Level)), lease_s=100.0) for revision in range(1, 30)
    ]
    dice.shuffle(sent)
    state = ActiveDirective()
    newest: tuple[int, int] = (0, 0)
    for now, one in enumerate([*sent, *sent[:5]]):
        assert state.apply(one, float(now)) is (one.version > newest)
        newest = max(newest, one.version)
        assert state.current is not None
        assert state.current.version == newest
        assert state.levels == state.current.levels


def held(*levels: Level, **numbers: float) -> DegradationState:
    return DegradationState(levels=levels, **numbers)  # type: ignore[arg-type]


def test_numbers_mean_nothing_while_their_level_is_not_in_force() -> None:
    state = ActiveDirective()
    assert (state.offload_share, state.lighten_share, state.admit_scale) == (0.0, 0.0, 1.0)
    state.apply(Directive(epoch=1, revision=1, levels=(Level.OFFLOAD,), offload_share=0.4, admit_scale=0.0), 0.0)
    assert (state.offload_share, state.lighten_share, state.admit_scale) == (0.4, 0.0, 1.0)


def test_stale_directives_are_counted() -> None:
    state = obeying(OFFLOAD)
    for version in ((5, 1), (4, 9), (0, 0)):
        assert not state.apply(directive(*version), 101.0)
    assert state.stale == 3
    assert state.levels == (Level.OFFLOAD,)


def test_a_member_on_its_own_acts_by_its_own_decision_and_says_so() -> None:
    state = obeying(OFFLOAD, now=0.0)
    state.decide_alone(held(Level.OFFLOAD, Level.ADMIT, offload_share=0.5, admit_scale=0.7))
    assert state.levels == (Level.OFFLOAD, Level.ADMIT)
    assert (state.offload_share, state.admit_scale, state.decides_alone) == (0.5, 0.7, True)
    assert state.obeyed is not None
    assert state.obeyed.version == OFFLOAD.version
    assert state.obeyed.degradation == state.in_force
    assert state.current == OFFLOAD


def test_a_member_that_was_never_told_anything_tells_what_it_decided() -> None:
    state = ActiveDirective()
    assert state.obeyed is None
    state.decide_alone(held(Level.ADMIT, admit_scale=0.5))
    assert state.obeyed == Directive(epoch=0, revision=0, levels=(Level.ADMIT,), admit_scale=0.5)


@pytest.mark.parametrize("version", [(5, 2), (5, 3), (6, 1)], ids=["renewal", "newer revision", "newer epoch"])
def test_a_returned_governors_word_holds_after_it_had_time_to_hear_of_the_members(version: tuple[int, int]) -> None:
    state = obeying(OFFLOAD, now=0.0)
    state.decide_alone(held(Level.ADMIT, admit_scale=0.5))
    state.apply(directive(*version, Level.LIGHTEN), 10.0)
    said = Level.OFFLOAD if version == (5, 2) else Level.LIGHTEN
    assert state.levels == tuple(sorted((said, Level.ADMIT)))
    assert not state.end_local(10.0 + HAND_BACK_S - 0.1)
    assert state.end_local(10.0 + HAND_BACK_S)
    assert (state.levels, state.admit_scale, state.decides_alone) == ((said,), 1.0, False)
    assert not state.end_local(20.0)


def test_a_governor_that_is_lost_again_at_once_gets_nothing_back() -> None:
    state = obeying(directive(5, 2, Level.OFFLOAD, lease_s=0.5), now=0.0)
    state.decide_alone(held(Level.ADMIT, admit_scale=0.5))
    state.apply(directive(5, 2, Level.OFFLOAD, lease_s=0.5), 10.0)
    assert not state.end_local(10.0 + HAND_BACK_S)
    assert Level.ADMIT in state.levels


def test_a_precision_is_obeyed_while_its_level_is_in_force_and_the_lower_of_two_holds() -> None:
    state = ActiveDirective()
    assert state.precision is Precision.OWN
    state.apply(Directive(epoch=1, revision=1, levels=(Level.LIGHTEN,), precision=Precision.FP8), 100.0)
    assert (state.precision, state.lighten_share) == (Precision.FP8, 0.0)
    state.decide_alone(DegradationState(levels=(Level.LIGHTEN,), precision=Precision.INT4))
    state.apply(Directive(epoch=1, revision=2, levels=(Level.LIGHTEN,), precision=Precision.MIXED), 101.0)
    assert state.precision is Precision.INT4
    state.apply(Directive(epoch=1, revision=3, levels=(Level.OFFLOAD,), precision=Precision.FP8), 102.0)
    assert state.end_local(102.0 + HAND_BACK_S)
    assert state.precision is Precision.OWN


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (DegradationState(), "full service"),
        (DegradationState(levels=(Level.LIGHTEN,), lighten_share=1.0), "lighten"),
        (DegradationState(levels=(Level.LIGHTEN,)), "lighten by precision"),
        (DegradationState(levels=(Level.OFFLOAD, Level.LIGHTEN), precision=Precision.FP8), "offload, lighten to fp8"),
        (
            DegradationState(levels=(Level.LIGHTEN,), lighten_share=0.5, precision=Precision.INT4),
            "lighten to int4 and copies",
        ),
    ],
)
def test_the_steps_of_level_2_have_names(content: DegradationState, shown: str) -> None:
    assert str(content) == shown


def test_what_is_replayed_from_long_ago_is_stale_even_when_nobody_directs() -> None:
    wall_s = 1_800_000_000.0
    current = Directive(epoch=round(wall_s * 1e9), revision=1)
    lagging = Directive(epoch=round((wall_s - 366 * 86_400) * 1e9), revision=1)
    replayed = Directive(epoch=1, revision=9)
    assert judge(lagging, current, is_directed=False, wall_s=wall_s) is Verdict.APPLY
    assert judge(lagging, current, is_directed=True, wall_s=wall_s) is Verdict.STALE
    assert judge(replayed, current, is_directed=False, wall_s=wall_s) is Verdict.STALE
