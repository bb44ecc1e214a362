"""The governor's core: the table of members, the directive in force, and one place to wait for a change of either.

Streams send states, not events: each remembers what it sent last and sends the newest when it differs. So nothing is
queued for a slow member, and it misses nothing that still matters.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from random import Random

from services.governor.config import GovernorConfig
from services.governor.journal import TransitionLog, TransitionStore
from services.governor.leadership import Inheritance, Leadership, Superseded, Told
from services.governor.members import MemberEntry, MemberTable
from services.governor.policy import DegradationPolicy
from sluice.control.degradation.aggregation import aggregate
from sluice.control.degradation.level_state import DegradationState
from sluice.control.degradation.report import Report
from sluice.control.degradation.signals import UNKNOWN
from sluice.control.directive import Directive
from sluice.control.epochs import epoch_above, latest_epoch
from sluice.control.fleet import DepartureReason, Fleet, Registration, Transition
from sluice.runtime.logging import LimitedLog

TICK_S = 0.1

logger = logging.getLogger(__name__)


class Governor:
    """Collects, decides and publishes. Use from one event loop only."""

    def __init__(
        self,
        config: GovernorConfig,
        *,
        epoch: int,
        journal: TransitionStore | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        dice: Random | None = None,
    ) -> None:
        """`clock` is monotonic, `wall` counts seconds since 1970, `dice` gives epochs their tails."""
        self.config = config
        self.table = MemberTable(
            report_interval_s=config.report_interval_ms / 1000,
            max_members=config.max_members,
            max_card_bytes=config.max_card_bytes,
        )
        self.controller = DegradationPolicy(
            epoch=epoch, lease_s=config.lease_s, automatic=config.automatic, thresholds=config.thresholds
        )
        self.history = TransitionLog(journal.past if journal else (), most=config.max_transitions)
        self.signals = UNKNOWN
        self.closing = False
        self.changes = 0
        self._journal = journal
        self._leadership = Leadership(lease_s=config.lease_s)
        self._stood_by = False
        self._clock = clock
        self._wall = wall
        self._dice = dice or Random()  # noqa: S311  no secret
        self._changed = asyncio.Event()
        self._inheritance = Inheritance(now=clock())
        self._passes = 0
        self._passed_at = -math.inf
        self._ticked_at = clock()
        self._heard_at = -math.inf
        self._is_ticking = True
        self._log = LimitedLog(logger, clock=clock)
        self._published = self.controller.current

    def fleet(self) -> Fleet:
        """Everybody, the directive and what it was decided by, now."""
        directive = self.controller.current
        return Fleet(
            epoch=directive.epoch,
            revision=self.table.revision,
            members=self.table.members(),
            directive=directive,
            signals=self.signals,
            departed=self.table.departed(now=self._clock()),
        )

    @property
    def is_standby(self) -> bool:
        """Whether a governor with a greater epoch directs, so that this one must not."""
        return self._leadership.is_standby(mine=self.controller.current.epoch, now=self._clock())

    @property
    def can_direct(self) -> bool:
        """Whether members that join now are directed: it decides, does not stand by, and does not end."""
        return not self.closing and self._is_ticking and not self.is_standby

    def require_leader(self) -> None:
        """Raises Superseded while this governor stands by."""
        if self.is_standby:
            raise Superseded(f"a governor of epoch {self._leadership.rival} directs the fleet; dial again to reach it")

    def join(self, registration: Registration, *, succeeds: frozenset[int] = frozenset()) -> int:
        """Seat a member and learn what it obeys; places with a ticket in `succeeds` are known to be abandoned.

        Raises Superseded, IdTaken and FleetFull.
        """
        now = self._clock()
        obeyed = registration.obeyed
        told = Told.NOTHING if obeyed is None else self._hear_of(registration, obeyed, now)
        self.require_leader()
        if told is Told.RIVAL and obeyed is not None:
            raise Superseded(f"a governor of epoch {obeyed.epoch} directs this member; dial again to reach it")
        ticket = self.table.join(registration, now=now, succeeds=succeeds)
        if obeyed is not None:
            is_foreign = obeyed.epoch != self.controller.current.epoch
            if told is Told.SILENT_RIVAL:
                self._passes = max(self._passes, obeyed.epoch)
                self._pass_silent(now)
            if is_foreign or (not registration.is_directed and self._is_warm(now)):
                self._inherit(obeyed.degradation, now)
        self._heard_at = now
        logger.info("joined", extra={"member": registration.id, "address": registration.address})
        self._publish()
        return ticket

    def rivals(self, registration: Registration) -> list[MemberEntry]:
        """The places of other processes that a member would take by its id or address."""
        return self.table.rivals(registration, now=self._clock())

    def wake(self) -> None:
        """Let all streams look at what they have to send."""
        self._publish()

    def report(self, member_id: str, report: Report) -> None:
        """A member told how it does; others are told only if it matters to them. Raises FleetFull."""
        now, before = self._clock(), self.table.revision
        wrong = self.table.report(member_id, report, self.controller.current, now=now)
        for what in wrong:
            logger.warning("a report is doubtful", extra={"member": member_id, "why": what})
        version = self.controller.current.version
        if report.decides_alone and report.in_force is not None and self._is_warm(now):
            self._inherit(report.in_force, now)
        self._heard_at = now
        if wrong or self.table.revision != before or self.controller.current.version != version:
            self._publish()

    def acknowledge(self, member_id: str, version: tuple[int, int]) -> None:
        """A member obeys. What is not this governor's word in force is none, and changes nothing."""
        current, applied = self.controller.current.version, self.table.applied(member_id)
        if (
            version[0] != current[0]
            or version > current
            or (applied and applied[0] == current[0] and version < applied)
        ):
            return
        if not self.table.acknowledge(member_id, version, now=self._clock()):
            return
        if all(member.applied == self.controller.current.version for member in self.table.members()):
            logger.info("directive acknowledged by all", extra={"version": version})
        self._publish()

    def owes(self, member_id: str) -> bool:
        """Whether a member has not acknowledged the directive in force."""
        return self.table.applied(member_id) != self.controller.current.version

    def leave(self, member_id: str, ticket: int, reason: DepartureReason = DepartureReason.LOST) -> None:
        """A member's stream ended."""
        if self.table.leave(member_id, ticket, reason=reason):
            logger.info("left", extra={"member": member_id, "why": reason.name.lower()})
            self._publish()

    def override(self, directive: Directive, *, duration_s: float) -> Directive:
        """The operator's hand, for `duration_s` from now. Raises Superseded."""
        self.require_leader()
        now = self._clock()
        current = self.controller.override(directive, until=now + duration_s, now=now)
        self._publish()
        return current

    def clear(self, reason: str) -> Directive:
        """End the operator's override. Raises Superseded."""
        self.require_leader()
        now = self._clock()
        current = self.controller.clear(now=now, reason=reason)
        # Who is late to come must not bring back what the operator has just ended.
        self._inheritance.clear(now)
        self._publish()
        return current

    async def change(self, *, since: int, timeout_s: float) -> None:
        """Return when `changes` has risen above `since`, at once if it has already, or after `timeout_s`.

        Whoever reads a state notes `changes` before, so that what happens while it is sent is not waited for.
        """
        if self.changes != since:
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), timeout_s)

    async def run(self) -> None:
        """Tick until cancelled. The first failing tick of a row is logged, and the next one comes all the same."""
        was_broken = False
        while True:
            await asyncio.sleep(TICK_S)
            try:
                self.tick()
                was_broken = False
            except Exception:
                if not was_broken:
                    logger.exception("a tick failed")
                was_broken = True
            self._is_ticking = not was_broken

    def tick(self) -> None:
        """Notice silence, disobedience and expiry, and decide."""
        now = self._clock()
        silent = self.table.expire_silent(now=now)
        for name in silent:
            logger.warning("silent", extra={"member": name})
        if self._was_asleep(now) or now - self._heard_at > self.config.lease_s:
            # It knows nothing of what members have done meanwhile, so it takes over what they will tell.
            self._inheritance.warm_up(now)
        self._ticked_at = now
        changed = self._pass_silent(now)
        self.signals = aggregate(self.table.heard(now))
        changed |= self.controller.tick(self.signals, now=now)
        late = self.table.owing(self.controller.current, now=now)
        for name in late:
            extra = {"member": name, "version": self.controller.current.version}
            logger.error("a member has not acknowledged the directive", extra=extra)
        if self.is_standby != self._stood_by:
            self._stood_by = self.is_standby
            logger.warning("stands by" if self._stood_by else "directs again", extra={"rival": self._leadership.rival})
            changed = True
        if silent or changed or late:
            self._publish()

    def close(self) -> None:
        """End all streams."""
        self.closing = True
        self._publish()

    def _hear_of(self, registration: Registration, obeyed: Directive, now: float) -> Told:
        mine, wall_s = self.controller.current.epoch, self._wall()
        told = self._leadership.hear(
            obeyed.epoch, mine=mine, is_directed=registration.is_directed, now=now, wall_s=wall_s
        )
        if told is Told.IMPLAUSIBLE:
            self._log.warning(
                "an implausible epoch was refused",
                member=registration.id,
                epoch=obeyed.epoch,
                latest=latest_epoch(wall_s),
            )
        elif told is Told.RIVAL and self._leadership.disbelieves(now):
            self._log.warning("a claim that another governor directs is not believed", member=registration.id)
        return told

    def _pass_silent(self, now: float) -> bool:
        """Take a greater epoch than the silent governors' that members have told of, at most once a lease."""
        mine = self.controller.current.epoch
        if self._passes <= mine or now - self._passed_at < self.config.lease_s:
            return False
        epoch = epoch_above(self._passes, self._wall(), self._dice)
        self._passes = 0
        if epoch is None:
            return False
        self._passed_at = now
        self.controller.rise(epoch)
        if self._journal is not None:
            self._journal.write(epoch)
        return True

    def _inherit(self, held: DegradationState, now: float) -> None:
        if self._inheritance.can_accept(now, is_warm=self._is_warm(now)):
            self.controller.inherit(held, now=now)

    def _is_warm(self, now: float) -> bool:
        return self._inheritance.is_warm(now) or self._was_asleep(now)

    def _was_asleep(self, now: float) -> bool:
        return now - self._ticked_at > self.config.lease_s

    def _publish(self) -> None:
        self._record()
        # Everyone who waits on the old event wakes up; whoever waits next waits on the new one.
        self.changes += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def _record(self) -> None:
        before, directive = self._published, self.controller.current
        self._published = directive
        if directive.version == before.version or not directive.degradation.is_another_step_than(before.degradation):
            return
        transition = Transition(at=datetime.now(UTC), before=before.levels, directive=directive, signals=self.signals)
        self.history.add(transition)
        if self._journal is not None:
            self._journal.write(transition)
        extra = {"levels": str(directive.degradation), "version": directive.version, "reason": directive.reason}
        logger.info("directive", extra=extra)
