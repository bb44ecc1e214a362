"""The governor's core in made-up time: whom it believes, whom it warns of, and what it takes over."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.governor.config import GovernorConfig
from services.governor.control_loop import TICK_S, Governor
from services.governor.leadership import Superseded
from services.governor.members import TooManyMembers
from sluice.control.degradation.level_state import FULL_SERVICE, DegradationState
from sluice.control.degradation.report import Report
from sluice.control.directive import Directive
from sluice.control.epochs import TAIL_BITS
from sluice.control.fleet import Member, Registration
from sluice.domain.enums import Level, MemberKind, Precision
from tests.unit.polling import until

OFFLOAD, LIGHTEN, ADMIT = Level.OFFLOAD, Level.LIGHTEN, Level.ADMIT
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EPOCH = 100


class Fleet:
    """A governor and members that report `values` every tick and acknowledge, unless they are told not to."""

    def __init__(self, **config: Any) -> None:
        self.now = 1_000.0
        self.governor = Governor(GovernorConfig(**config), epoch=EPOCH, clock=lambda: self.now)
        self.values: dict[str, dict[str, Any]] = {}
        self.mute: set[str] = set()
        self.disobedient: set[str] = set()

    def join(
        self, name: str, kind: MemberKind, *, obeyed: Directive | None = None, directed: bool = False, **values: Any
    ) -> None:
        """Seat a member."""
        card = Registration(id=name, kind=kind, address=f"{name}:1", obeyed=obeyed, is_directed=directed)
        self.governor.join(card)
        self.values[name] = values

    def run(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds / TICK_S)):
            self.now += TICK_S
            for name, values in self.values.items():
                self.speak(name, values)
            self.governor.tick()

    def speak(self, name: str, values: dict[str, Any]) -> None:
        """A report, and an acknowledgement."""
        version, said = self.governor.controller.current.version, self.governor.controller.current.degradation
        if name not in self.mute:
            self.governor.acknowledge(name, version)
        applied = next(one.applied for one in self.governor.table.members() if one.id == name)
        in_force = FULL_SERVICE if name in self.disobedient else said
        report = {"in_force": in_force, "applied": applied, **values}
        measured_at = report.pop("measured_at", NOON + timedelta(seconds=self.now))
        self.governor.report(name, Report(measured_at=measured_at, **report))

    def member(self, name: str) -> Member:
        """As it is seen."""
        return next(one for one in self.governor.table.members() if one.id == name)

    @property
    def levels(self) -> tuple[Level, ...]:
        """What is in force."""
        return self.governor.controller.current.levels


BUSY = {"utilization": 0.97, "memory": 0.5}


def test_it_acts_by_what_its_members_report_and_keeps_why() -> None:
    fleet = Fleet()
    fleet.join("gpu", MemberKind.GPU_WORKER, **BUSY)
    fleet.run(1.5)
    assert fleet.levels == (OFFLOAD,)
    (transition,) = fleet.governor.history.last(10)
    assert (transition.before, transition.directive.levels) == ((), (OFFLOAD,))
    assert transition.directive.reason == "utilization 0.97 > 0.9 for 1 s"
    assert transition.signals.utilization == 0.97


def test_without_automatic_nothing_is_decided() -> None:
    fleet = Fleet(automatic=False)
    fleet.join("gpu", MemberKind.GPU_WORKER, utilization=1.0, memory=0.99)
    fleet.run(30)
    assert fleet.levels == ()
    assert fleet.governor.signals.memory == 0.99


@pytest.mark.parametrize(
    "lie",
    [
        {"utilization": float("nan"), "memory": float("nan")},
        {"utilization": -0.5, "memory": -1.0},
        {"utilization": float("inf"), "memory": float("inf")},
        {"utilization": 42.0, "memory": 1.5},
    ],
    ids=["no number", "negative", "infinite", "out of range"],
)
def test_signals_that_lie_bring_no_level_and_keep_every_one(
    lie: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    fleet = Fleet()
    fleet.join("gpu", MemberKind.GPU_WORKER, **lie)
    fleet.run(20)
    assert fleet.levels == ()
    fleet.values["gpu"] = {"utilization": 0.97, "memory": 0.9}
    fleet.run(2)
    assert fleet.levels == (OFFLOAD, LIGHTEN)
    fleet.values["gpu"] = lie
    fleet.run(300)
    assert fleet.levels == (OFFLOAD, LIGHTEN)
    assert fleet.member("gpu").doubted > 0
    # Once for each value, whenever it begins to be unbelievable, and not for every report.
    assert [record.message for record in caplog.records].count("a report is doubtful") == 4


def test_a_report_that_is_repeated_for_ever_proves_no_health() -> None:
    fleet = Fleet()
    fleet.join("gpu", MemberKind.GPU_WORKER, utilization=0.97, memory=0.9)
    fleet.run(2)
    fleet.values["gpu"] = {"utilization": 0.1, "memory": 0.1, "measured_at": NOON}
    fleet.run(300)
    assert fleet.levels == (OFFLOAD, LIGHTEN)
    assert fleet.governor.signals.utilization is None


def test_a_member_that_does_not_acknowledge_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    fleet = Fleet()
    fleet.join("gpu", MemberKind.GPU_WORKER)
    fleet.join("cpu", MemberKind.CPU_WORKER)
    fleet.mute.add("cpu")
    fleet.run(1.5)
    assert fleet.member("gpu").unacknowledged_s is None
    assert fleet.member("cpu").unacknowledged_s == pytest.approx(1.4)
    assert "a member has not acknowledged the directive" not in {record.message for record in caplog.records}
    fleet.run(5)
    alarms = [record for record in caplog.records if record.message == "a member has not acknowledged the directive"]
    assert [vars(record)["member"] for record in alarms] == ["cpu"]
    fleet.mute.clear()
    fleet.run(0.2)
    assert fleet.member("cpu").unacknowledged_s is None


def test_a_member_that_acknowledges_and_does_not_obey_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    fleet = Fleet()
    fleet.join("good", MemberKind.CPU_WORKER)
    fleet.join("bad", MemberKind.CPU_WORKER)
    fleet.disobedient.add("bad")
    fleet.run(1)
    assert not fleet.member("bad").disobeys
    fleet.governor.override(Directive(epoch=0, revision=0, levels=(LIGHTEN,), lighten_share=1.0), duration_s=60)
    fleet.run(1)
    assert (fleet.member("good").disobeys, fleet.member("bad").disobeys) == (False, True)
    told = [vars(record)["member"] for record in caplog.records if record.message == "a report is doubtful"]
    assert told == ["bad"]


def test_a_member_that_acknowledges_more_than_it_reports_to_have_applied_does_not_obey() -> None:
    fleet = Fleet()
    fleet.join("bad", MemberKind.CPU_WORKER, applied=(EPOCH, 0))
    fleet.run(0.2)
    assert fleet.member("bad").disobeys


def test_a_member_that_decides_alone_is_not_judged() -> None:
    fleet = Fleet()
    fleet.join("alone", MemberKind.CPU_WORKER, decides_alone=True, in_force=DegradationState(levels=(LIGHTEN,)))
    fleet.run(10)
    assert not fleet.member("alone").disobeys


def test_what_members_of_a_dead_governor_hold_is_taken_over_however_late_they_come() -> None:
    fleet = Fleet()
    fleet.join("early", MemberKind.CPU_WORKER)
    fleet.run(60)
    held = Directive(epoch=50, revision=9, levels=(LIGHTEN,), lighten_share=1.0)
    fleet.join("late", MemberKind.GPU_WORKER, obeyed=held)
    assert fleet.levels == (LIGHTEN,)
    assert fleet.governor.controller.current.epoch == EPOCH


def test_a_straggler_does_not_bring_back_what_the_operator_has_cleared() -> None:
    fleet = Fleet()
    held = Directive(epoch=50, revision=9, levels=(LIGHTEN,), lighten_share=1.0)
    fleet.join("early", MemberKind.CPU_WORKER, obeyed=held)
    assert fleet.levels == (LIGHTEN,)
    fleet.governor.clear("operator: over")
    fleet.join("late", MemberKind.GPU_WORKER, obeyed=held)
    assert fleet.levels == ()


def test_its_own_word_teaches_it_nothing() -> None:
    fleet = Fleet()
    fleet.join("gpu", MemberKind.GPU_WORKER)
    fleet.governor.override(Directive(epoch=0, revision=0, levels=(LIGHTEN,), lighten_share=1.0), duration_s=60)
    said = fleet.governor.controller.current
    fleet.governor.clear("over")
    fleet.now += 61
    fleet.join("gpu", MemberKind.GPU_WORKER, obeyed=said, directed=True)
    assert fleet.levels == ()


def test_after_a_sleep_it_takes_over_what_its_members_have_decided_meanwhile() -> None:
    fleet = Fleet()
    fleet.join("router", MemberKind.ROUTER)
    fleet.run(6)
    own = DegradationState(levels=(ADMIT,), admit_scale=0.6)
    fleet.values["router"] = {"decides_alone": True, "in_force": own}
    fleet.run(5)
    assert fleet.levels == ()
    fleet.now += 60
    fleet.speak("router", fleet.values["router"])
    assert (fleet.levels, fleet.governor.controller.current.admit_scale) == ((ADMIT,), 0.6)


def test_a_greater_epoch_that_is_alive_makes_it_stand_by_and_one_that_is_silent_is_passed() -> None:
    fleet = Fleet()
    fleet.join("mine", MemberKind.CPU_WORKER)
    theirs = Directive(epoch=5_000, revision=1)
    with pytest.raises(Superseded, match="5000"):
        fleet.join("theirs", MemberKind.CPU_WORKER, obeyed=theirs, directed=True)
    assert fleet.governor.is_standby
    with pytest.raises(Superseded):
        fleet.governor.override(theirs, duration_s=10)
    with pytest.raises(Superseded):
        fleet.governor.clear("over")
    fleet.now += 3.1
    fleet.join("theirs", MemberKind.CPU_WORKER, obeyed=theirs)
    assert not fleet.governor.is_standby
    assert 5_000 < fleet.governor.controller.current.epoch < 5_000 + 2 ** (TAIL_BITS + 1)


def test_a_full_fleet_takes_nobody_but_those_it_has() -> None:
    fleet = Fleet(max_members=2)
    fleet.join("a", MemberKind.CPU_WORKER)
    fleet.join("b", MemberKind.CPU_WORKER)
    with pytest.raises(TooManyMembers):
        fleet.join("c", MemberKind.CPU_WORKER)
    fleet.join("a", MemberKind.CPU_WORKER)
    assert len(fleet.governor.table.members()) == 2


async def test_a_tick_that_fails_is_told_once_and_does_not_end_the_ticking(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    governor, ticks = Governor(GovernorConfig(), epoch=EPOCH), 0

    def fails() -> None:
        nonlocal ticks
        ticks += 1
        raise ZeroDivisionError("what nobody thought of")

    monkeypatch.setattr(governor, "tick", fails)
    running = asyncio.create_task(governor.run())
    await until(lambda: ticks >= 3)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert [record.message for record in caplog.records] == ["a tick failed"]


def test_every_step_of_level_2_and_every_precision_is_kept_in_the_history() -> None:
    fleet = Fleet()
    fleet.join("gpu", MemberKind.GPU_WORKER, utilization=0.5, memory=0.86, lowering_ratio=0.2)
    fleet.run(1)
    fleet.values["gpu"] = {"utilization": 0.5, "memory": 0.86}
    fleet.run(6)
    fleet.governor.override(Directive(epoch=0, revision=0, levels=(LIGHTEN,), precision=Precision.FP8), duration_s=9)
    fleet.governor.override(Directive(epoch=0, revision=0, levels=(LIGHTEN,), precision=Precision.INT4), duration_s=9)
    shown = [str(one.directive.degradation) for one in fleet.governor.history.last(10)]
    assert shown == ["lighten by precision", "lighten", "lighten to fp8", "lighten to int4"]


def test_levels_that_stragglers_claim_to_hold_end_although_they_are_told_for_ever() -> None:
    fleet = Fleet()
    idle = {"queue_delay_s": 0.0, "standing_queue_delay_s": 0.0, "median_timeout_s": 1.0, "refused_ratio": 0.0}
    fleet.join("router", MemberKind.ROUTER, **idle)
    fleet.join("gpu", MemberKind.GPU_WORKER, utilization=0.1, memory=0.2)
    fleet.run(10)
    at_full_service = 0
    for number in range(600):
        held = Directive(epoch=1, revision=1, levels=(ADMIT,), admit_scale=0.5)
        name = f"straggler {number}"
        card = Registration(id=name, kind=MemberKind.CPU_WORKER, address=f"{name}:1", obeyed=held)
        fleet.governor.leave(name, fleet.governor.join(card))
        fleet.run(1)
        at_full_service += fleet.levels == ()
    assert 300 < at_full_service < 600
