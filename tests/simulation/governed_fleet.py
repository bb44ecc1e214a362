"""Real governors and real members' states in seeded, virtual time; only the wire between them is made up.

A member dials any of the governors that it can reach, as behind one name, and goes on doing so until one takes it.
A governor can be stopped (its streams stay open and are silent until keepalive ends them), killed and started. All
share one monotonic clock; each has a wall clock of its own, which may be wrong.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from services.governor.config import GovernorConfig
from services.governor.control_loop import Governor
from services.governor.leadership import Superseded
from sluice.control.degradation.level_state import DegradationState
from sluice.control.degradation.report import Report
from sluice.control.degradation.thresholds import DEFAULT_THRESHOLDS
from sluice.control.directive import ActiveDirective
from sluice.control.epochs import new_epoch
from sluice.control.fleet import Registration
from sluice.control.membership_client import LOOK_AGAIN_S, MAX_BACKOFF_S
from sluice.control.standalone import StandaloneController
from sluice.domain.enums import Level, MemberKind

TICK_S = 0.1
RENEW_S = 0.5
KEEPALIVE_S = 15.0
# What a right wall clock shows when the simulation's clock is at zero.
WALL_S = 1_800_000_000.0
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

Measure = Callable[[float], dict[str, Any]]


@dataclass(eq=False)
class SimGovernor:
    """One governor, or none while it is dead."""

    name: str
    governor: Governor | None = None
    is_stopped: bool = False
    clock_off_s: float = 0.0

    @property
    def answers(self) -> bool:
        """Whether anything comes from it."""
        return self.governor is not None and not self.is_stopped


@dataclass(eq=False)
class SimMember:
    """A member, with what it reports by time."""

    name: str
    kind: MemberKind
    state: ActiveDirective
    autonomy: StandaloneController
    reach: Callable[[SimGovernor], bool] = lambda _: True
    at: SimGovernor | None = None
    governor: Governor | None = None
    ticket: int = 0
    clock_off_s: float = 0.0
    has_obeyed: bool = False
    obeyed_since: float = 0.0
    silent_since: float = 0.0
    dial_at: float = 0.0
    backoff_s: float = 0.1
    told_at: float = 0.0
    seen: list[tuple[float, tuple[Level, ...]]] = field(default_factory=list)


class GovernedFleet:
    """Members in `kinds` and governors by name. Everything that is random follows `seed`."""

    def __init__(self, *names: str, seed: int, members: int = 6, measure: Measure | None = None, **config: Any) -> None:
        self.now = 1_000.0
        self.dice = random.Random(seed)
        self.governors = {name: SimGovernor(name) for name in names}
        self.versions: list[tuple[int, int]] = []
        self._config = GovernorConfig(**config)
        self._measure = measure or (lambda _: {})
        kinds = (MemberKind.ROUTER, MemberKind.GPU_WORKER, MemberKind.CPU_WORKER)
        self.members = [self._member(f"m{number}", kinds[number % 3]) for number in range(members)]

    def start(self, name: str, *, epoch: int | None = None) -> None:
        """Start a governor that knows nothing; by default its epoch is the time by its wall clock."""
        one = self.governors[name]

        def wall() -> float:
            return WALL_S + self.now + one.clock_off_s

        epoch = new_epoch(wall(), self.dice) if epoch is None else epoch
        one.governor = Governor(self._config, epoch=epoch, clock=lambda: self.now, wall=wall, dice=self.dice)

    def kill(self, name: str) -> None:
        """As by SIGKILL: its streams break."""
        self.governors[name].governor = None

    def run(self, seconds: float, *, breaks: float = 0.0) -> None:
        """Let time pass. `breaks` is the chance that a member's stream breaks within a second."""
        for _ in range(round(seconds / TICK_S)):
            self.now += TICK_S
            for one in self.governors.values():
                if one.answers and one.governor is not None:
                    one.governor.tick()
            self.dice.shuffle(self.members)
            for member in self.members:
                if self.dice.random() < breaks * TICK_S:
                    self._part(member)
                self._step(member)

    def governed_by(self) -> set[str]:
        """The governors that direct anybody now."""
        names = set()
        for member in self.members:
            if member.at is not None and not member.state.is_autonomous(self.now):
                names.add(member.at.name)
        return names

    def levels(self) -> set[tuple[Level, ...]]:
        """What is in force anywhere."""
        return {member.state.levels for member in self.members}

    def alone(self) -> int:
        """How many members nobody directs."""
        return sum(member.state.is_autonomous(self.now) for member in self.members)

    def epochs(self) -> list[int]:
        """The epochs that any member has obeyed, in their order."""
        return list(dict.fromkeys(epoch for epoch, _ in self.versions))

    def _member(self, name: str, kind: MemberKind) -> SimMember:
        state = ActiveDirective(wall=lambda: WALL_S + self.now + member.clock_off_s)

        def measure() -> Report:
            at = NOON + timedelta(seconds=self.now)
            values = self._measure(self.now) if kind is MemberKind.ROUTER else {}
            return replace(Report(measured_at=at), **values)

        autonomy = StandaloneController(
            kind, state, measure=measure, thresholds=DEFAULT_THRESHOLDS, clock=lambda: self.now
        )
        member = SimMember(name, kind, state, autonomy)
        return member

    def _step(self, member: SimMember) -> None:
        member.autonomy.tick()
        if not member.seen or member.seen[-1][1] != member.state.levels:
            member.seen.append((self.now, member.state.levels))
        if member.at is None:
            self._dial(member)
        elif not member.at.answers or not member.reach(member.at):
            self._wait(member)
        else:
            self._talk(member)

    def _wait(self, member: SimMember) -> None:
        is_dead = member.at is not None and member.at.governor is not member.governor
        if is_dead or self.now - member.silent_since > KEEPALIVE_S:
            self._part(member)

    def _dial(self, member: SimMember) -> None:
        if self.now < member.dial_at:
            return
        member.dial_at = self.now + member.backoff_s * self.dice.uniform(0.5, 1.0)
        member.backoff_s = min(MAX_BACKOFF_S, member.backoff_s * 2)
        at = self.dice.choice(list(self.governors.values()))
        if at.governor is None or at.is_stopped or not member.reach(at):
            return
        card = Registration(
            id=member.name,
            kind=member.kind,
            address=f"{member.name}:1",
            obeyed=member.state.obeyed,
            is_directed=not member.state.is_autonomous(self.now),
        )
        try:
            member.ticket = at.governor.join(card)
        except Superseded:
            return
        member.at, member.governor, member.told_at, member.has_obeyed = at, at.governor, 0.0, False
        self._talk(member)

    def _talk(self, member: SimMember) -> None:
        governor, at = member.governor, member.at
        if governor is None or at is None or at.governor is not governor:
            self._part(member)
            return
        if governor.is_standby or not governor.table.holds(member.name, member.ticket):
            self._part(member)
            return
        member.silent_since = self.now
        state = member.state
        report = replace(
            member.autonomy.report(),
            in_force=state.in_force,
            applied=state.current.version if state.current else None,
            decides_alone=state.decides_alone,
        )
        governor.report(member.name, report)
        directive = governor.controller.current
        is_known = state.current is not None and state.current.version == directive.version
        if not governor.is_standby and (not is_known or self.now - member.told_at >= RENEW_S):
            member.told_at = self.now
            if state.apply(directive, self.now):
                self.versions.append(directive.version)
            if state.current is not None and state.current.version != directive.version and not member.has_obeyed:
                self._part(member)
                return
            if not member.has_obeyed:
                member.has_obeyed, member.backoff_s, member.obeyed_since = True, 0.1, self.now
            elif not state.is_plausible(directive) and self.now - member.obeyed_since > LOOK_AGAIN_S:
                self._part(member)
                return
            if state.current is not None and not state.decides_alone:
                governor.acknowledge(member.name, state.current.version)

    def _part(self, member: SimMember) -> None:
        if member.governor is not None and member.at is not None and member.at.governor is member.governor:
            member.governor.leave(member.name, member.ticket)
        member.at = member.governor = None


def rehearsal(*levels: Level) -> DegradationState:
    """Levels with numbers that act fully."""
    return DegradationState(levels=levels, offload_share=1.0, lighten_share=1.0, admit_scale=0.5)
