"""Wall clocks that are a year wrong, and liars: in the end one governor directs, by restarts alone."""

from __future__ import annotations

from typing import Any

import pytest

from services.governor.leadership import FIRST_DISBELIEF_S, Superseded
from sluice.control.directive import Directive
from sluice.control.epochs import BELIEVED_AHEAD_S, LAST_EPOCH, latest_epoch, new_epoch, resumed_epoch
from sluice.control.fleet import Registration
from sluice.control.membership_client import MAX_BACKOFF_S
from sluice.domain.enums import Level, MemberKind
from tests.simulation.governed_fleet import WALL_S, GovernedFleet

YEAR_S = 365 * 86_400.0
LEASE_S = 3.0
HELD = Directive(epoch=0, revision=0, levels=(Level.OFFLOAD,), offload_share=1.0)
# What is left of a lease, the longest pause between two attempts to dial, and a renewal.
SOON_S = LEASE_S + MAX_BACKOFF_S + 0.5
OFF = [YEAR_S, -YEAR_S]


def busy(_: float) -> dict[str, Any]:
    """A router whose queue is neither short nor long."""
    return {
        "queue_delay_s": 0.1,
        "standing_queue_delay_s": 0.1,
        "median_timeout_s": 1.0,
        "hot_queued": 1,
        "inflight": 1,
    }


def journalled(kept: int | None, fleet: GovernedFleet, off_s: float) -> int:
    """The epoch that a governor with this journal starts with."""
    wall_s = WALL_S + fleet.now + off_s
    return resumed_epoch(kept, new_epoch(wall_s, fleet.dice), latest=latest_epoch(wall_s))


def epoch_of(fleet: GovernedFleet, name: str) -> int:
    governor = fleet.governors[name].governor
    assert governor is not None
    return governor.controller.current.epoch


@pytest.mark.parametrize("has_journal", [False, True], ids=["no journal", "journal"])
@pytest.mark.parametrize("off_s", OFF, ids=["ahead", "behind"])
@pytest.mark.parametrize("whose", ["governor", "members", "one member"])
@pytest.mark.parametrize("seed", range(2))
def test_a_clock_that_is_a_year_wrong_or_is_set_right_costs_no_more_than_a_restart(
    seed: int, whose: str, off_s: float, *, has_journal: bool
) -> None:
    fleet = GovernedFleet("a", seed=seed, measure=busy)
    kept: int | None = None
    right = 0.0
    # Right, wrong, wrong again, right, and right again.
    for off in (right, off_s, off_s, right, right):
        members = {"governor": [], "members": fleet.members, "one member": fleet.members[:1]}[whose]
        for member in members:
            member.clock_off_s = off
        fleet.governors["a"].clock_off_s = off if whose == "governor" else 0.0
        epoch = journalled(kept if has_journal else None, fleet, fleet.governors["a"].clock_off_s)
        fleet.start("a", epoch=epoch)
        fleet.run(SOON_S + 0.5)
        assert fleet.alone() == 0
        governor = fleet.governors["a"].governor
        assert governor is not None
        assert governor.can_direct
        governor.override(HELD, duration_s=5.0)
        fleet.run(1.5)
        assert fleet.levels() == {HELD.levels}
        governor.clear("over")
        fleet.run(1.5)
        assert all(one.applied == governor.controller.current.version for one in governor.table.members())
        kept = epoch_of(fleet, "a")
        fleet.kill("a")
        fleet.run(1.0)


@pytest.mark.parametrize("off_s", OFF, ids=["ahead", "behind"])
@pytest.mark.parametrize("seed", range(2))
def test_of_two_governors_one_of_whose_clocks_is_a_year_wrong_one_directs_in_the_end(seed: int, off_s: float) -> None:
    fleet = GovernedFleet("a", "b", seed=seed, members=4, measure=busy)
    fleet.governors["b"].clock_off_s = off_s
    fleet.start("a")
    fleet.start("b")
    fleet.run(150, breaks=0.06)
    fleet.run(20)
    assert fleet.governed_by() == {"a"}
    assert fleet.alone() == 0
    # And the one with the wrong clock takes over where the other one dies.
    fleet.kill("a")
    fleet.run(SOON_S + 10)
    assert fleet.governed_by() == {"b"}
    assert fleet.alone() == 0


@pytest.mark.parametrize("epoch", [LAST_EPOCH, LAST_EPOCH - 1, 2**63])
@pytest.mark.parametrize("directed", [True, False])
def test_an_epoch_that_cannot_be_changes_nothing(epoch: int, *, directed: bool) -> None:
    fleet = GovernedFleet("a", seed=1, measure=busy)
    fleet.start("a")
    fleet.run(5)
    before = epoch_of(fleet, "a")
    for number in range(100):
        lie(fleet, epoch, directed=directed, name=f"liar{number % 3}")
        fleet.run(0.3)
    assert fleet.alone() == 0
    assert epoch_of(fleet, "a") == before
    assert fleet.epochs() == [before]


@pytest.mark.parametrize(("seed", "ahead_s"), [(0, 0.001), (1, 3_600.0), (2, BELIEVED_AHEAD_S - 1.0)])
def test_who_claims_for_ever_that_another_governor_directs_is_believed_ever_less(seed: int, ahead_s: float) -> None:
    fleet = GovernedFleet("a", seed=seed, members=3, measure=busy)
    fleet.start("a")
    fleet.run(5)
    directed = spells = 0
    was_standing_by = False
    for step in range(250):
        if step % 2 == 0:
            lie(fleet, int((WALL_S + fleet.now + ahead_s) * 1e9), directed=True, name=f"liar{step}")
        fleet.run(1)
        governor = fleet.governors["a"].governor
        assert governor is not None
        spells += governor.is_standby and not was_standing_by
        was_standing_by = governor.is_standby
        directed += fleet.alone() == 0
    # 250 s hold three trials: at 0 s, and a minute and two after the one before was refuted.
    assert spells == 3
    assert directed >= 250 - spells * (SOON_S + 1.0)
    assert fleet.alone() == 0
    fleet.run(FIRST_DISBELIEF_S)
    assert fleet.levels() == {()}


@pytest.mark.parametrize("ahead_s", [1.0, 7_200.0, BELIEVED_AHEAD_S - 7_200.0, BELIEVED_AHEAD_S - 0.001])
def test_who_tells_of_governors_that_fell_silent_drives_epochs_no_further_than_members_believe(ahead_s: float) -> None:
    fleet = GovernedFleet("a", seed=1, measure=busy)
    fleet.start("a")
    for member in fleet.members:
        member.clock_off_s = -600.0
    fleet.run(5)
    for step in range(120):
        lie(fleet, int((WALL_S + fleet.now + ahead_s + step) * 1e9), directed=False, name=f"liar{step}")
        fleet.run(0.5)
        assert fleet.alone() == 0
    # At most one epoch a lease, however many are told.
    assert len(fleet.epochs()) <= 60 / LEASE_S + 2
    fleet.kill("a")
    fleet.run(1)
    fleet.start("a")
    # Its epoch is less than the one that its members obey, so it waits until it is sure that nobody directs them.
    fleet.run(SOON_S + 2 * LEASE_S)
    assert fleet.alone() == 0


def lie(fleet: GovernedFleet, epoch: int, *, directed: bool, name: str, levels: tuple[Level, ...] = ()) -> None:
    """A client that registers, and is gone at once."""
    governor = fleet.governors["a"].governor
    assert governor is not None
    said = Directive(epoch=epoch, revision=1, levels=())
    card = Registration(id=name, kind=MemberKind.CPU_WORKER, address=f"{name}:1", obeyed=said, is_directed=directed)
    try:
        ticket = governor.join(card)
    except Superseded:
        return
    governor.leave(name, ticket)
