"""Which directive a member obeys: the properties that two governors, wrong clocks and lies must not break."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from sluice.control.directive import ActiveDirective, Directive, Verdict, judge
from sluice.control.epochs import LAST_EPOCH, is_of_the_past, is_plausible

WALL_S = 1.8e9
NOW_NS = round(WALL_S * 1e9)
epochs = st.sampled_from([1, NOW_NS - 1, NOW_NS, NOW_NS + 10**9, NOW_NS * 2, 2**63, LAST_EPOCH]) | st.integers(
    0, LAST_EPOCH
)
directives = st.builds(Directive, epoch=epochs, revision=st.integers(1, 3))
REFUSED = {Verdict.STALE, Verdict.IMPLAUSIBLE}


def verdict(new: Directive, current: Directive | None, *, is_directed: bool = True) -> Verdict:
    return judge(new, current, is_directed=is_directed, wall_s=WALL_S)


@given(directives, directives)
def test_of_two_directives_one_is_obeyed_whichever_comes_first(one: Directive, two: Directive) -> None:
    if one.version == two.version:
        assert verdict(one, two) is Verdict.RENEW
    else:
        assert (verdict(one, two) is Verdict.APPLY) != (verdict(two, one) is Verdict.APPLY)


@given(directives, directives, directives)
def test_the_order_has_no_circles(one: Directive, two: Directive, three: Directive) -> None:
    if verdict(two, one) is Verdict.APPLY and verdict(three, two) is Verdict.APPLY:
        assert verdict(three, one) is Verdict.APPLY


@given(directives, directives)
def test_what_is_implausible_never_outranks_what_is_plausible(one: Directive, two: Directive) -> None:
    if is_plausible(two.epoch, WALL_S) and not is_plausible(one.epoch, WALL_S):
        assert verdict(one, two) is Verdict.IMPLAUSIBLE
        assert verdict(two, one) is Verdict.APPLY


@given(directives, directives)
def test_whoever_nobody_directs_obeys_any_governor_but_no_replay_of_long_ago(
    new: Directive, current: Directive
) -> None:
    assert verdict(new, None) is Verdict.APPLY
    if new.epoch != current.epoch and is_of_the_past(new.epoch, WALL_S):
        assert verdict(new, current, is_directed=False) is verdict(new, current)
    elif new.epoch != current.epoch:
        assert verdict(new, current, is_directed=False) is Verdict.APPLY
    elif new.revision < current.revision:
        assert verdict(new, current, is_directed=False) is Verdict.STALE


@given(st.lists(directives, min_size=1, max_size=12), st.floats(0, 2e9))
def test_a_governor_that_goes_on_speaking_is_obeyed_within_a_lease(said: list[Directive], wall_s: float) -> None:
    state, now = ActiveDirective(wall=lambda: wall_s), 100.0
    for one in said:
        state.apply(one, now)
        now += 0.1
    last = replace(said[-1], epoch=(said[-1].epoch + 1) % LAST_EPOCH)
    assume(not is_of_the_past(last.epoch, wall_s) and last.epoch not in {one.epoch for one in said})
    for _ in range(32):
        state.apply(last, now)
        now += 0.1
    assert state.current is not None
    assert state.current.epoch == last.epoch
    assert not state.is_autonomous(now)
