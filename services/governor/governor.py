"""The governor's core: the table of members, the directive in force, and one place to wait for a change of either.

Streams send states, not events: each remembers what it sent last and sends the newest when it differs. So nothing is
queued for a slow member, and it misses nothing that still matters.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from services.governor.config import GovernorConfig
from services.governor.controller import Controller
from services.governor.membership_table import MembershipTable
from sluice.directive import Directive
from sluice.fleet import Fleet, Registration, Report

TICK_S = 0.1

logger = logging.getLogger(__name__)


class Governor:
    """Collects and publishes. Use from one event loop only."""

    def __init__(self, config: GovernorConfig, *, epoch: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.config = config
        self.table = MembershipTable(report_interval_s=config.report_interval_ms / 1000)
        self.controller = Controller(epoch=epoch, lease_s=config.lease_s)
        self.closing = False
        self.changes = 0
        self._clock = clock
        self._changed = asyncio.Event()

    def fleet(self) -> Fleet:
        """Everybody and the directive, now."""
        directive = self.controller.current
        return Fleet(
            epoch=directive.epoch, revision=self.table.revision, members=self.table.members(), directive=directive
        )

    def join(self, registration: Registration) -> int:
        """Seat a member and learn what it obeys. Raises IdTaken."""
        now = self._clock()
        ticket = self.table.join(registration, now=now)
        if registration.obeyed is not None:
            self.controller.learn(registration.obeyed, now=now)
        logger.info("joined", extra={"member": registration.id, "address": registration.address})
        self._publish()
        return ticket

    def report(self, member_id: str, report: Report) -> None:
        """A member told how it does; routers are told only if it matters to them."""
        before = self.table.revision
        self.table.report(member_id, report, now=self._clock())
        if self.table.revision != before:
            self._publish()

    def acknowledge(self, member_id: str, version: tuple[int, int]) -> None:
        """A member obeys."""
        self.table.acknowledge(member_id, version, now=self._clock())
        if all(member.applied == self.controller.current.version for member in self.table.members()):
            logger.info("directive acknowledged by all", extra={"version": version})
        self._publish()

    def leave(self, member_id: str, ticket: int) -> None:
        """A member's stream ended."""
        if self.table.leave(member_id, ticket):
            logger.info("left", extra={"member": member_id})
            self._publish()

    def override(self, directive: Directive, *, duration_s: float) -> Directive:
        """The operator's hand, for `duration_s` from now."""
        now = self._clock()
        current = self.controller.override(directive, until=now + duration_s, now=now)
        self._log_directive()
        self._publish()
        return current

    def clear(self, reason: str) -> Directive:
        """End the operator's override."""
        current = self.controller.clear(now=self._clock(), reason=reason)
        self._log_directive()
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
        """Notice silence and expiry until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            now = self._clock()
            silent = self.table.drop_silent(now=now)
            for name in silent:
                logger.warning("silent", extra={"member": name})
            expired = self.controller.tick(now=now)
            if expired:
                self._log_directive()
            if silent or expired:
                self._publish()

    def close(self) -> None:
        """End all streams."""
        self.closing = True
        self._publish()

    def _publish(self) -> None:
        # Everyone who waits on the old event wakes up; whoever waits next waits on the new one.
        self.changes += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def _log_directive(self) -> None:
        directive = self.controller.current
        levels = [level.name.lower() for level in directive.levels]
        extra = {"levels": levels, "version": directive.version, "reason": directive.reason}
        logger.info("directive", extra=extra)
