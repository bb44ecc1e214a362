"""A member without a governor: the same laws, on its own signals, from what it last obeyed.

Nothing goes back to full service only because the governor is silent; levels come and go by what the member sees.
When a governor is heard again, its word holds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from sluice.control.degradation.aggregation import aggregate
from sluice.control.degradation.laws import PolicyState, adopt, decide
from sluice.control.degradation.report import Report
from sluice.control.degradation.report_validation import ReportValidator
from sluice.control.degradation.thresholds import Thresholds
from sluice.control.directive import ActiveDirective
from sluice.domain.enums import MemberKind

TICK_S = 0.1
FRESH_S = 1.0

logger = logging.getLogger(__name__)


class StandaloneController:
    """Decides for one member while nobody directs it. `measure` makes the member's reports.

    A member's readings cover the time since the one before, so all who need one take it here.
    """

    def __init__(
        self,
        kind: MemberKind,
        directives: ActiveDirective,
        *,
        measure: Callable[[], Report],
        thresholds: Thresholds,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kind = kind
        self._directives = directives
        self._measure = measure
        self._thresholds = thresholds
        self._clock = clock
        self._witness = ReportValidator(kind, fresh_s=FRESH_S)
        self._measured_at = -1.0
        self._law: PolicyState | None = None
        self._was_directed = True
        self._is_broken = False

    def report(self) -> Report:
        """A new reading, for the governor and for the laws here."""
        report = self._measure()
        now = self._clock()
        self._witness.hear(report, now)
        self._measured_at = now
        return report

    def tick(self) -> None:
        """Decide if nobody else does."""
        now = self._clock()
        if not self._directives.is_autonomous(now):
            self._end(now)
            return
        if now - self._measured_at >= TICK_S / 2:
            self.report()
            now = self._measured_at
        law = self._take_over() if self._was_directed or self._law is None else self._law
        signals = aggregate([(self._kind, self._witness.reading(now))], alone=True)
        self._law, decided = decide(signals, law, now, self._thresholds)
        self._directives.decide_alone(decided)
        if decided.levels != law.published.levels:
            logger.warning("level changed alone", extra={"levels": str(decided), "reason": self._law.reason})

    async def run(self) -> None:
        """Tick until cancelled. A reading that cannot be made is logged once, and what holds goes on."""
        while True:
            await asyncio.sleep(TICK_S)
            try:
                self.tick()
                self._is_broken = False
            except Exception:
                if not self._is_broken:
                    logger.exception("no decision could be made")
                self._is_broken = True

    def _take_over(self) -> PolicyState:
        held = self._directives.in_force
        if self._was_directed and self._directives.current is not None:
            logger.warning("no governor is heard: deciding alone", extra={"levels": str(held)})
        self._was_directed = False
        return adopt(self._law or PolicyState(), held, self._thresholds, reason="held")

    def _end(self, now: float) -> None:
        self._was_directed = True
        if self._law is not None and self._directives.end_local(now):
            self._law = None
            logger.info("a governor directs again", extra={"levels": str(self._directives.in_force)})
