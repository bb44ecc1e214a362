"""A member without a governor."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sluice.control.degradation.report import Report
from sluice.control.degradation.thresholds import DEFAULT_THRESHOLDS
from sluice.control.directive import HAND_BACK_S, ActiveDirective, Directive
from sluice.control.standalone import TICK_S, StandaloneController
from sluice.domain.enums import Level, MemberKind
from tests.unit.polling import until

OFFLOAD, LIGHTEN, ADMIT = Level.OFFLOAD, Level.LIGHTEN, Level.ADMIT
LEASE_S = 3.0
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Alone:
    """A member in made-up time that reports `values`."""

    def __init__(self, kind: MemberKind = MemberKind.ROUTER) -> None:
        self.now = 100.0
        self.values: dict[str, Any] = {}
        self.measured = 0
        self.state = ActiveDirective()
        self.autonomy = StandaloneController(
            kind, self.state, measure=self._measure, thresholds=DEFAULT_THRESHOLDS, clock=lambda: self.now
        )

    def run(self, seconds: float, *, renewed: Directive | None = None) -> None:
        """Let time pass, with or without a governor that repeats its directive."""
        for _ in range(round(seconds / TICK_S)):
            self.now += TICK_S
            if renewed is not None:
                self.state.apply(renewed, self.now)
            self.autonomy.tick()

    def _measure(self) -> Report:
        self.measured += 1
        return Report(measured_at=NOON + timedelta(seconds=self.now), **self.values)


LATE = {"queue_delay_s": 0.7, "standing_queue_delay_s": 0.7, "median_timeout_s": 1.0, "hot_queued": 5}
SAID = Directive(epoch=5, revision=2, levels=(LIGHTEN,), lighten_share=1.0, lease_s=LEASE_S)


def test_while_a_governor_directs_it_decides_nothing_whatever_it_sees() -> None:
    member = Alone()
    member.values = LATE
    member.run(30, renewed=SAID)
    assert member.state.levels == (LIGHTEN,)
    assert not member.state.decides_alone
    assert member.measured == 0


def test_it_takes_over_within_half_a_second_of_the_leases_end_and_starts_from_what_it_held() -> None:
    member = Alone()
    member.run(1, renewed=SAID)
    member.run(LEASE_S - 0.2)
    assert not member.state.decides_alone
    member.run(0.7)
    assert member.state.decides_alone
    assert member.state.levels == (LIGHTEN,)


def test_it_escalates_by_what_it_sees_itself() -> None:
    member = Alone()
    member.run(1, renewed=SAID)
    member.values = LATE
    member.run(LEASE_S + 1.0)
    assert member.state.levels == (OFFLOAD, LIGHTEN, ADMIT)


def test_it_never_returns_to_full_service_by_the_loss_alone() -> None:
    member = Alone(MemberKind.CPU_WORKER)
    member.run(1, renewed=SAID)
    member.run(600)
    assert member.state.levels == (LIGHTEN,)


def test_a_worker_returns_to_its_full_models_when_it_sees_the_room_for_them() -> None:
    member = Alone(MemberKind.GPU_WORKER)
    member.values = {"memory": 0.5, "full_reload_ratio": 0.3}
    member.run(1, renewed=SAID)
    member.run(60)
    assert member.state.levels == (LIGHTEN,)
    member.values = {"memory": 0.3, "full_reload_ratio": 0.3}
    member.run(16)
    assert member.state.levels == ()


@pytest.mark.parametrize(
    ("kind", "values", "level"),
    [
        (MemberKind.ROUTER, LATE, ADMIT),
        (MemberKind.ROUTER, LATE, OFFLOAD),
        (MemberKind.GPU_WORKER, {"memory": 0.9}, LIGHTEN),
    ],
)
def test_a_mesh_without_a_governor_degrades_by_itself_and_not_without_a_reason(
    kind: MemberKind, values: dict[str, Any], level: Level
) -> None:
    member = Alone(kind)
    member.run(60)
    assert member.state.levels == ()
    member.values = values
    member.run(2)
    assert level in member.state.levels
    assert member.state.obeyed is not None


def test_when_the_governor_is_back_its_word_holds() -> None:
    member = Alone()
    member.run(1, renewed=SAID)
    member.values = LATE
    member.run(LEASE_S + 1)
    newer = Directive(epoch=6, revision=1, lease_s=LEASE_S)
    member.run(HAND_BACK_S - 0.2, renewed=newer)
    assert member.state.levels == (OFFLOAD, LIGHTEN, ADMIT)
    member.run(0.5, renewed=newer)
    assert member.state.levels == ()
    assert not member.state.decides_alone


def test_a_governor_that_is_lost_again_finds_the_member_where_it_was_left() -> None:
    member = Alone()
    member.run(1, renewed=SAID)
    member.values = LATE
    member.run(LEASE_S + 1)
    member.values = {}
    member.run(0.3, renewed=Directive(epoch=6, revision=1, levels=(LIGHTEN,), lighten_share=1.0, lease_s=0.1))
    member.run(0.5)
    assert set(member.state.levels) >= {LIGHTEN, ADMIT}


async def test_a_reading_that_cannot_be_made_costs_nothing_but_itself(caplog: pytest.LogCaptureFixture) -> None:
    state, calls = ActiveDirective(), 0

    def measure() -> Report:
        nonlocal calls
        calls += 1
        if calls < 4:
            raise ZeroDivisionError("a sensor said nothing")
        return Report(measured_at=datetime.now(UTC), memory=0.99)

    autonomy = StandaloneController(MemberKind.GPU_WORKER, state, measure=measure, thresholds=DEFAULT_THRESHOLDS)
    running = asyncio.create_task(autonomy.run())
    await until(lambda: LIGHTEN in state.levels)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert [record.message for record in caplog.records].count("no decision could be made") == 1
