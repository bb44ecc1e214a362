"""Whether a member does what it was told: it acknowledges in time, and has in force what it acknowledged."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.control.directive import Directive
from sluice.control.fleet import Report

ALARM_S = 2.0


@dataclass(slots=True)
class Obedience:
    """One member's. Instants are of the governor's monotonic clock, in seconds."""

    owes_since: float | None = None
    disobeys: bool = False
    _is_alarmed: bool = False

    def look(self, applied: tuple[int, int] | None, wanted: tuple[int, int], now: float) -> bool:
        """Note whether an acknowledgement is owed; returns True once when that has lasted too long."""
        if applied == wanted:
            self.owes_since = None
            self._is_alarmed = False
            return False
        if self.owes_since is None or self.owes_since > now:
            self.owes_since = now
        if self._is_alarmed or now - self.owes_since < ALARM_S:
            return False
        self._is_alarmed = True
        return True

    def judge(self, report: Report, acknowledged: tuple[int, int] | None, directive: Directive) -> bool:
        """Compare what a member reports with what it acknowledged; returns True when that has begun to differ.

        A member that decides alone, or does not say what it has in force, is not judged.
        """
        before = self.disobeys
        self.disobeys = _differs(report, acknowledged, directive)
        return self.disobeys and not before


def _differs(report: Report, acknowledged: tuple[int, int] | None, directive: Directive) -> bool:
    if report.decides_alone or acknowledged is None:
        return False
    if report.applied is not None and report.applied < acknowledged:
        return True
    if report.in_force is None or acknowledged != directive.version:
        return False
    # An acknowledgement comes after the deed, and a report after the acknowledgement: the stream keeps their order.
    is_about_it = report.applied is None or report.applied == directive.version
    return is_about_it and report.in_force.effective() != directive.degradation
