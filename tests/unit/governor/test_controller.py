"""What shall hold, and under which number."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.governor.policy import DegradationPolicy
from sluice.control.degradation.signals import UNKNOWN, Signals
from sluice.control.directive import Directive
from sluice.domain.enums import Level, Precision
from tests.unit import strategies as some

OFFLOAD, LIGHTEN, ADMIT = Level.OFFLOAD, Level.LIGHTEN, Level.ADMIT


def obeyed(epoch: int, *levels: Level, revision: int = 3, **more: Any) -> Directive:
    return Directive(epoch=epoch, revision=revision, levels=levels, **more)


def wanted(*levels: Level, **more: Any) -> Directive:
    return Directive(epoch=0, revision=0, levels=levels, reason="operator: rehearsal", **more)


@pytest.fixture(params=[True, False], ids=["automatic", "by hand"])
def controller(request: pytest.FixtureRequest) -> DegradationPolicy:
    return DegradationPolicy(epoch=100, lease_s=7.0, automatic=request.param)


def learn(controller: DegradationPolicy, held: Directive, *, now: float) -> None:
    """As the governor does when a member comes that another governor directed."""
    controller.rise(held.epoch + 1)
    controller.inherit(held.degradation, now=now)


def test_a_governor_starts_at_full_service_with_revision_one(controller: DegradationPolicy) -> None:
    current = controller.current
    assert (current.version, current.levels, current.admit_scale, current.lease_s) == ((100, 1), (), 1.0, 7.0)


def test_an_override_is_a_new_revision_of_the_same_epoch_with_the_governors_lease(
    controller: DegradationPolicy,
) -> None:
    said = controller.override(wanted(OFFLOAD, ADMIT, offload_share=0.5, admit_scale=0.8), until=10, now=0)
    assert said == controller.current
    assert said.version == (100, 2)
    assert (said.levels, said.offload_share, said.admit_scale) == ((OFFLOAD, ADMIT), 0.5, 0.8)
    assert (said.lease_s, said.reason) == (7.0, "operator: rehearsal")
    assert controller.override_until == 10


def test_an_override_ends_by_itself_at_its_time_and_not_before(controller: DegradationPolicy) -> None:
    controller.override(wanted(OFFLOAD), until=10, now=0)
    assert not controller.tick(UNKNOWN, now=9.99)
    assert controller.current.levels == (OFFLOAD,)
    assert controller.tick(UNKNOWN, now=10)
    assert controller.current == Directive(epoch=100, revision=3, lease_s=7.0, reason="the operator's override expired")
    assert controller.override_until is None
    assert not controller.tick(UNKNOWN, now=11)


def test_a_second_override_takes_the_place_of_the_first_and_its_time(controller: DegradationPolicy) -> None:
    controller.override(wanted(OFFLOAD), until=10, now=0)
    controller.override(wanted(LIGHTEN), until=20, now=5)
    assert not controller.tick(UNKNOWN, now=15)
    assert controller.current.levels == (LIGHTEN,)
    assert controller.tick(UNKNOWN, now=20)


def test_saying_the_same_again_only_prolongs_it(controller: DegradationPolicy) -> None:
    first = controller.override(wanted(OFFLOAD), until=10, now=0)
    again = controller.override(wanted(OFFLOAD), until=30, now=5)
    assert again.version == first.version
    assert not controller.tick(UNKNOWN, now=20)


def test_clearing_returns_to_full_service_and_forgets_what_was_inherited(controller: DegradationPolicy) -> None:
    learn(controller, obeyed(50, LIGHTEN), now=0)
    controller.override(wanted(OFFLOAD), until=10, now=0)
    cleared = controller.clear(now=1, reason="operator: over")
    assert (cleared.levels, cleared.reason, controller.override_until) == ((), "operator: over", None)
    assert not controller.tick(UNKNOWN, now=100)
    assert controller.current.levels == ()


def test_a_restarted_governor_takes_the_union_of_what_its_members_obey(controller: DegradationPolicy) -> None:
    learn(controller, obeyed(50, OFFLOAD, offload_share=0.3), now=0)
    learn(controller, obeyed(49, OFFLOAD, ADMIT, offload_share=0.6, admit_scale=0.7), now=1)
    learn(controller, obeyed(50), now=2)
    current = controller.current
    assert (current.levels, current.offload_share, current.admit_scale) == ((OFFLOAD, ADMIT), 0.6, 0.7)
    assert current.epoch == 100
    assert current.revision > 1


def test_a_greater_epoch_than_its_own_is_passed(controller: DegradationPolicy) -> None:
    learn(controller, obeyed(5_000, LIGHTEN, revision=9), now=0)
    assert controller.current.version > (5_000, 9)
    assert controller.current.levels == (LIGHTEN,)
    learn(controller, obeyed(7_000, revision=1), now=1)
    assert controller.current.epoch > 7_000
    assert controller.current.levels == (LIGHTEN,)


def test_an_override_holds_over_what_is_inherited_later(controller: DegradationPolicy) -> None:
    controller.override(wanted(OFFLOAD), until=10, now=0)
    learn(controller, obeyed(50, LIGHTEN), now=1)
    assert controller.current.levels == (OFFLOAD,)


def test_numbers_of_levels_that_were_not_in_force_do_not_enter_the_union(controller: DegradationPolicy) -> None:
    # They are read only while their level is in force, so a member may carry any: proto3 sends an unset scale as 0.
    learn(controller, obeyed(50, OFFLOAD, offload_share=0.3, admit_scale=0.0), now=0)
    learn(controller, obeyed(50, ADMIT, offload_share=0.9, admit_scale=0.5), now=1)
    current = controller.current
    assert (current.levels, current.offload_share, current.admit_scale) == ((OFFLOAD, ADMIT), 0.3, 0.5)


def test_what_is_inherited_goes_by_the_laws_and_by_hand_only_with_the_operators_word() -> None:
    idle = Signals(utilization=0.1, memory=0.2, queue_delay_s=0.0, standing_queue_delay_s=0.0, refused_ratio=0.0)
    automatic, by_hand = (DegradationPolicy(epoch=100, lease_s=3.0, automatic=one) for one in (True, False))
    seen = []
    for controller in (automatic, by_hand):
        learn(
            controller,
            obeyed(50, OFFLOAD, LIGHTEN, ADMIT, offload_share=0.3, lighten_share=1.0, admit_scale=0.5),
            now=0,
        )
    for tick in range(1000):
        for controller in (automatic, by_hand):
            controller.tick(idle, now=tick / 10)
        seen.append(automatic.current.levels)
    assert by_hand.current.levels == (OFFLOAD, LIGHTEN, ADMIT)
    assert list(dict.fromkeys(seen)) == [(OFFLOAD, LIGHTEN, ADMIT), (OFFLOAD, LIGHTEN), (LIGHTEN,), ()]


def test_the_laws_go_on_beneath_an_override_and_hold_when_it_ends() -> None:
    controller = DegradationPolicy(epoch=100, lease_s=3.0)
    controller.override(wanted(OFFLOAD), until=5, now=0)
    for tick in range(49):
        controller.tick(Signals(memory=0.9), now=tick / 10)
    assert controller.current.levels == (OFFLOAD,)
    assert controller.tick(Signals(memory=0.9), now=5.0)
    assert controller.current.levels == (LIGHTEN,)
    assert controller.current.reason == "the operator's override expired"


def test_clearing_does_not_take_back_what_signals_have_confirmed() -> None:
    controller = DegradationPolicy(epoch=100, lease_s=3.0)
    learn(controller, obeyed(50, OFFLOAD, LIGHTEN), now=0)
    for tick in range(10):
        controller.tick(Signals(memory=0.9), now=tick / 10)
    assert controller.clear(now=1, reason="operator: over").levels == (LIGHTEN,)


actions = st.one_of(
    st.tuples(st.just("learn"), some.directives),
    st.tuples(st.just("override"), some.directives),
    st.tuples(st.just("clear"), st.none()),
    st.tuples(st.just("tick"), some.signals),
)


@given(st.booleans(), st.lists(st.tuples(st.floats(min_value=0, max_value=5), actions), max_size=12))
def test_versions_only_rise_and_every_change_has_a_version_of_its_own(
    automatic: bool,
    steps: list[tuple[float, tuple[str, Any]]],
) -> None:
    controller, now = DegradationPolicy(epoch=100, lease_s=3.0, automatic=automatic), 0.0
    seen = {controller.current.version: controller.current}
    for pause, (action, said) in steps:
        now += pause
        before = controller.current
        if action == "learn":
            learn(controller, said, now=now)
            assert controller.current.epoch == before.epoch or controller.current.epoch > said.epoch
        elif action == "override":
            controller.override(said, until=now + 3, now=now)
        elif action == "clear":
            controller.clear(now=now, reason="over")
            assert controller.override_until is None
        else:
            controller.tick(said, now=now)
        current = controller.current
        assert current.version >= before.version
        known = seen.setdefault(current.version, current)
        assert known.degradation == current.degradation


def test_an_order_of_a_precision_holds_until_it_is_cleared(controller: DegradationPolicy) -> None:
    said = controller.override(wanted(LIGHTEN, precision=Precision.FP8), until=10, now=0)
    assert (said.levels, said.lighten_share, said.precision) == ((LIGHTEN,), 0.0, Precision.FP8)
    again = controller.override(wanted(LIGHTEN, precision=Precision.INT4), until=10, now=1)
    assert (again.version, again.precision) == ((100, 3), Precision.INT4)
    cleared = controller.clear(now=2, reason="operator: cleared")
    assert (cleared.levels, cleared.precision) == ((), Precision.OWN)


def test_the_lower_of_two_precisions_that_were_found_in_force_is_taken_over(controller: DegradationPolicy) -> None:
    for precision in (Precision.INT4, Precision.MIXED):
        learn(controller, obeyed(50, LIGHTEN, precision=precision), now=0)
    assert (controller.current.levels, controller.current.precision) == ((LIGHTEN,), Precision.INT4)


def busy(utilization: float) -> Signals:
    return Signals(utilization=utilization, cpu_utilization=0.3, memory=0.5, median_timeout_s=1.0)


def test_a_number_that_moves_within_a_level_keeps_the_reason_of_the_level() -> None:
    controller = DegradationPolicy(epoch=100, lease_s=7.0)
    controller.inherit(obeyed(50, OFFLOAD, offload_share=0.3).degradation, now=0)
    assert controller.current.reason == "inherited from the members"
    moved = sum(controller.tick(busy(0.95), now=tick / 10) for tick in range(8))
    assert moved > 1
    assert controller.current.offload_share > 0.3
    assert controller.current.reason == "inherited from the members"


def test_a_level_that_comes_brings_its_own_reason_and_keeps_it_while_its_number_moves() -> None:
    controller = DegradationPolicy(epoch=100, lease_s=7.0)
    ticks = (tick / 10 for tick in range(40))
    reasons = [controller.current.reason for now in ticks if controller.tick(busy(0.95), now=now)]
    assert len(reasons) > 1
    assert set(reasons) == {"utilization 0.95 > 0.9 for 1 s"}
