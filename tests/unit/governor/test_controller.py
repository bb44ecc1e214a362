"""What shall hold, and under which number."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.governor.controller import Controller
from sluice.directive import Directive
from sluice.tier import Level
from tests.unit import strategies as some

OFFLOAD, LIGHTEN, ADMIT = Level.OFFLOAD, Level.LIGHTEN, Level.ADMIT


def obeyed(epoch: int, *levels: Level, revision: int = 3, **more: Any) -> Directive:
    return Directive(epoch=epoch, revision=revision, levels=levels, **more)


def wanted(*levels: Level, **more: Any) -> Directive:
    return Directive(epoch=0, revision=0, levels=levels, reason="operator: rehearsal", **more)


@pytest.fixture
def controller() -> Controller:
    return Controller(epoch=100, lease_s=7.0)


def test_a_governor_starts_at_full_service_with_revision_one(controller: Controller) -> None:
    current = controller.current
    assert (current.version, current.levels, current.admit_scale, current.lease_s) == ((100, 1), (), 1.0, 7.0)


def test_an_override_is_a_new_revision_of_the_same_epoch_with_the_governors_lease(controller: Controller) -> None:
    said = controller.override(wanted(OFFLOAD, ADMIT, offload_share=0.5, admit_scale=0.8), until=10, now=0)
    assert said == controller.current
    assert said.version == (100, 2)
    assert (said.levels, said.offload_share, said.admit_scale) == ((OFFLOAD, ADMIT), 0.5, 0.8)
    assert (said.lease_s, said.reason) == (7.0, "operator: rehearsal")
    assert controller.override_until == 10


def test_an_override_ends_by_itself_at_its_time_and_not_before(controller: Controller) -> None:
    controller.override(wanted(OFFLOAD), until=10, now=0)
    assert not controller.tick(now=9.99)
    assert controller.current.levels == (OFFLOAD,)
    assert controller.tick(now=10)
    assert controller.current == Directive(epoch=100, revision=3, lease_s=7.0, reason="the operator's override expired")
    assert controller.override_until is None
    assert not controller.tick(now=11)


def test_a_second_override_takes_the_place_of_the_first_and_its_time(controller: Controller) -> None:
    controller.override(wanted(OFFLOAD), until=10, now=0)
    controller.override(wanted(LIGHTEN), until=20, now=5)
    assert not controller.tick(now=15)
    assert controller.current.levels == (LIGHTEN,)
    assert controller.tick(now=20)


def test_saying_the_same_again_only_prolongs_it(controller: Controller) -> None:
    first = controller.override(wanted(OFFLOAD), until=10, now=0)
    again = controller.override(wanted(OFFLOAD), until=30, now=5)
    assert again.version == first.version
    assert not controller.tick(now=20)


def test_clearing_returns_to_full_service_and_forgets_what_was_inherited(controller: Controller) -> None:
    controller.learn(obeyed(50, LIGHTEN), now=0)
    controller.override(wanted(OFFLOAD), until=10, now=0)
    cleared = controller.clear(now=1, reason="operator: over")
    assert (cleared.levels, cleared.reason, controller.override_until) == ((), "operator: over", None)
    assert not controller.tick(now=100)
    assert controller.current.levels == ()


def test_a_restarted_governor_takes_the_union_of_what_its_members_obey(controller: Controller) -> None:
    controller.learn(obeyed(50, OFFLOAD, offload_share=0.3), now=0)
    controller.learn(obeyed(49, OFFLOAD, ADMIT, offload_share=0.6, admit_scale=0.7), now=1)
    controller.learn(obeyed(50), now=2)
    current = controller.current
    assert (current.levels, current.offload_share, current.admit_scale) == ((OFFLOAD, ADMIT), 0.6, 0.7)
    assert current.epoch == 100
    assert current.revision > 1


def test_a_greater_epoch_than_its_own_is_passed(controller: Controller) -> None:
    controller.learn(obeyed(5_000, LIGHTEN, revision=9), now=0)
    assert controller.current.version > (5_000, 9)
    assert controller.current.levels == (LIGHTEN,)
    controller.learn(obeyed(7_000, revision=1), now=1)
    assert controller.current.epoch > 7_000
    assert controller.current.levels == (LIGHTEN,)


def test_what_it_said_itself_teaches_it_nothing(controller: Controller) -> None:
    controller.override(wanted(OFFLOAD), until=10, now=0)
    said = controller.current
    controller.clear(now=1, reason="over")
    controller.learn(said, now=2)
    assert controller.current.levels == ()


def test_an_override_holds_over_what_is_inherited_later(controller: Controller) -> None:
    controller.override(wanted(OFFLOAD), until=10, now=0)
    controller.learn(obeyed(50, LIGHTEN), now=1)
    assert controller.current.levels == (OFFLOAD,)


def test_a_straggler_does_not_bring_back_what_the_operator_has_cleared(controller: Controller) -> None:
    controller.learn(obeyed(50, LIGHTEN), now=0)
    controller.clear(now=1, reason="operator: over")
    controller.learn(obeyed(50, LIGHTEN), now=2)
    assert controller.current.levels == ()


def test_numbers_of_levels_that_were_not_in_force_do_not_enter_the_union(controller: Controller) -> None:
    # They are read only while their level is in force, so a member may carry any: proto3 sends an unset scale as 0.
    controller.learn(obeyed(50, OFFLOAD, offload_share=0.3, admit_scale=0.0), now=0)
    controller.learn(obeyed(50, ADMIT, offload_share=0.9, admit_scale=0.5), now=1)
    current = controller.current
    assert (current.levels, current.offload_share, current.admit_scale) == ((OFFLOAD, ADMIT), 0.3, 0.5)


actions = st.one_of(
    st.tuples(st.just("learn"), some.directives),
    st.tuples(st.just("override"), some.directives),
    st.tuples(st.sampled_from(["clear", "tick"]), st.none()),
)


@given(st.lists(st.tuples(st.floats(min_value=0, max_value=5), actions), max_size=12))
def test_versions_only_rise_and_every_change_has_a_version_of_its_own(
    steps: list[tuple[float, tuple[str, Directive]]],
) -> None:
    controller, now = Controller(epoch=100, lease_s=3.0), 0.0
    seen = {controller.current.version: controller.current}
    for pause, (action, directive) in steps:
        now += pause
        before = controller.current
        if action == "learn":
            controller.learn(directive, now=now)
            assert controller.current.epoch == before.epoch or controller.current.epoch > directive.epoch
        elif action == "override":
            controller.override(directive, until=now + 3, now=now)
        elif action == "clear":
            assert controller.clear(now=now, reason="over").levels == ()
        else:
            controller.tick(now=now)
        current = controller.current
        assert current.version >= before.version
        known = seen.setdefault(current.version, current)
        assert (known.levels, known.offload_share) == (current.levels, current.offload_share)
