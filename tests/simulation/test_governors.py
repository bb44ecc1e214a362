"""Governors that die, stop, come back and meet: members keep their levels, and one governor directs in the end."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.control.directive import Directive
from sluice.control.epochs import TAIL_BITS
from sluice.domain.enums import Level
from tests.simulation.governed_fleet import GovernedFleet, SimGovernor

OFFLOAD, LIGHTEN, ADMIT = Level.OFFLOAD, Level.LIGHTEN, Level.ADMIT
SEEDS = range(4)
LEASE_S = 3.0
HELD = Directive(epoch=0, revision=0, levels=(OFFLOAD, LIGHTEN), offload_share=1.0, lighten_share=1.0)


def override(fleet: GovernedFleet, name: str) -> None:
    governor = fleet.governors[name].governor
    assert governor is not None
    governor.override(HELD, duration_s=10_000)


def busy(_: float) -> dict[str, Any]:
    """A router whose queue is neither short nor long."""
    return {
        "queue_delay_s": 0.1,
        "standing_queue_delay_s": 0.1,
        "median_timeout_s": 1.0,
        "hot_queued": 1,
        "inflight": 1,
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_a_governor_that_is_killed_leaves_its_members_their_levels_and_an_empty_one_takes_over_at_once(
    seed: int,
) -> None:
    fleet = GovernedFleet("a", seed=seed, measure=busy)
    fleet.start("a")
    fleet.run(5)
    override(fleet, "a")
    fleet.run(2)
    fleet.kill("a")
    fleet.run(LEASE_S + 0.5)
    assert fleet.alone() == len(fleet.members)
    fleet.run(5)
    assert fleet.levels() == {HELD.levels}
    fleet.start("a")
    fleet.run(2.1)
    assert fleet.alone() == 0
    assert fleet.levels() == {HELD.levels}
    assert all(levels == HELD.levels for member in fleet.members for at, levels in member.seen if at > 1_007)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_governor_that_was_stopped_for_a_minute_takes_over_what_its_members_decided(seed: int) -> None:
    def late(now: float) -> dict[str, Any]:
        delay_s = 0.7 if 1_020 < now < 1_060 else 0.1
        return {**busy(now), "queue_delay_s": delay_s, "standing_queue_delay_s": delay_s}

    fleet = GovernedFleet("a", seed=seed, measure=late)
    fleet.start("a")
    fleet.run(5)
    assert fleet.levels() == {()}
    fleet.governors["a"].is_stopped = True
    fleet.run(60)
    routers = [member for member in fleet.members if member.kind.name == "ROUTER"]
    assert {member.state.levels for member in routers} == {(OFFLOAD, ADMIT)}
    fleet.governors["a"].is_stopped = False
    fleet.run(2.1)
    assert fleet.alone() == 0
    assert fleet.levels() == {(OFFLOAD, ADMIT)}
    changes = [levels for member in routers for at, levels in member.seen if at > 1_060]
    assert all(ADMIT in levels for levels in changes)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stopped_governor_that_was_replaced_directs_nobody_when_it_comes_back(seed: int) -> None:
    fleet = GovernedFleet("a", "b", seed=seed, measure=busy)
    fleet.start("a")
    fleet.run(5)
    override(fleet, "a")
    fleet.run(2)
    fleet.governors["a"].is_stopped = True
    fleet.start("b")
    fleet.run(40)
    assert fleet.governed_by() == {"b"}
    fleet.governors["a"].is_stopped = False
    fleet.run(60, breaks=0.02)
    assert fleet.governed_by() == {"b"}
    assert len(fleet.epochs()) == 2
    assert all(levels == HELD.levels for member in fleet.members for at, levels in member.seen if at > 1_008)


@pytest.mark.parametrize("seed", SEEDS)
def test_of_two_governors_the_one_with_the_greater_epoch_directs_all_and_neither_outbids_the_other(seed: int) -> None:
    fleet = GovernedFleet("a", "b", seed=seed, members=9, measure=busy)
    fleet.start("a", epoch=500)
    fleet.start("b", epoch=100)
    fleet.run(120, breaks=0.03)
    assert len(fleet.governed_by()) == 1
    before = len(fleet.epochs())
    assert before <= 4
    fleet.run(300, breaks=0.03)
    assert len(fleet.governed_by()) == 1
    assert len(fleet.epochs()) == before
    assert fleet.alone() <= 2


@pytest.mark.parametrize("seed", SEEDS)
def test_two_halves_that_were_cut_apart_become_one_fleet_again(seed: int) -> None:
    fleet = GovernedFleet("a", "b", seed=seed, members=8, measure=busy)
    for name, epoch in (("a", 500), ("b", 100)):
        fleet.start(name, epoch=epoch)
    halves = {"a": fleet.members[:4], "b": fleet.members[4:]}
    for name, members in halves.items():
        for member in members:
            member.reach = lambda at, name=name: at.name == name  # type: ignore[misc]
    fleet.run(60)
    assert fleet.governed_by() == {"a", "b"}
    override(fleet, "b")
    fleet.run(5)
    assert fleet.levels() == {(), HELD.levels}

    def all_of_them(_: SimGovernor) -> bool:
        return True

    for member in fleet.members:
        member.reach = all_of_them
    fleet.run(120, breaks=0.03)
    assert len(fleet.governed_by()) == 1
    assert len(fleet.levels()) == 1
    assert len(fleet.epochs()) <= 4


def test_a_governor_that_is_alone_in_the_world_directs_although_it_is_the_lesser() -> None:
    fleet = GovernedFleet("a", "b", seed=1, measure=busy)
    fleet.start("a", epoch=10_000)
    fleet.run(10)
    fleet.kill("a")
    fleet.start("b", epoch=5)
    fleet.run(15)
    assert fleet.governed_by() == {"b"}
    assert fleet.alone() == 0
    assert 10_000 < max(fleet.epochs()) < 10_000 + 2 ** (TAIL_BITS + 1)
