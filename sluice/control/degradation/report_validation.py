"""What one member's reports are worth: old ones nothing, and neither those that repeat themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from sluice.control.degradation.report import Report
from sluice.domain.enums import MemberKind

# One member's report as far as it can be believed: what is no number, or no possible one, is unknown.


LONGEST_DELAY_S = 3600.0
LONGEST_TIMEOUT_S = 86_400.0
HIGHEST_RATE = 1e9
# A ratio that rounding has put beyond 1 is not a lie.
TOLERANCE = 1e-6
# Several routers' diversions may together be more than the accelerators could take.
MOST_OFFLOADED = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedReport:
    """The believed values of a member, as in its report. `doubted` names those that were not."""

    kind: MemberKind
    utilization: float | None
    memory: float | None
    full_reload_ratio: float
    lowering_ratio: float
    queue_delay_s: float | None
    standing_queue_delay_s: float | None
    median_timeout_s: float | None
    deadline_miss_ratio: float | None
    refused_ratio: float | None
    offloaded_utilization: float | None
    rate: float
    draining: bool
    doubted: tuple[str, ...]


def validated(kind: MemberKind, report: Report) -> ValidatedReport:
    """What `report` says. An empty queue is known to delay nobody, and an idle router to refuse nobody."""
    doubted: list[str] = []

    def within(name: str, value: float | None, most: float) -> float | None:
        if value is None:
            return None
        if not math.isfinite(value) or not 0.0 <= value <= most * (1.0 + TOLERANCE):
            doubted.append(name)
            return None
        return min(value, most)

    rate = within("requests_per_second", report.requests_per_second, HIGHEST_RATE) or 0.0
    queue_delay_s = within("queue_delay", report.queue_delay_s, LONGEST_DELAY_S)
    standing_s = within("standing_queue_delay", report.standing_queue_delay_s, LONGEST_DELAY_S)
    refused = within("refused_ratio", report.refused_ratio, 1.0)
    if kind is MemberKind.ROUTER and report.hot_queued + report.cold_queued == 0:
        standing_s = 0.0
        queue_delay_s = 0.0 if queue_delay_s is None else queue_delay_s
        if refused is None and report.inflight == 0 and rate == 0.0 and "refused_ratio" not in doubted:
            refused = 0.0
    return ValidatedReport(
        kind=kind,
        utilization=within("utilization", report.utilization, 1.0),
        memory=within("memory", report.memory, 1.0),
        full_reload_ratio=within("full_reload_ratio", report.full_reload_ratio, 1.0) or 0.0,
        lowering_ratio=within("lowering_ratio", report.lowering_ratio, 1.0) or 0.0,
        queue_delay_s=queue_delay_s,
        standing_queue_delay_s=standing_s,
        median_timeout_s=within("median_timeout", report.median_timeout_s, LONGEST_TIMEOUT_S),
        deadline_miss_ratio=within("deadline_miss_ratio", report.deadline_miss_ratio, 1.0),
        refused_ratio=refused,
        offloaded_utilization=within("offloaded_utilization", report.offloaded_utilization, MOST_OFFLOADED),
        rate=rate,
        draining=report.draining,
        doubted=tuple(doubted),
    )


# A busy share or a delay, being a quotient of times, does not come out the same for so long while the load changes.
# Memory may (an allocator keeps its pool), and so may 0 and 1 (idle, saturated).
FROZEN_AFTER_S = 30.0
FROZEN_REPORTS = 20


@dataclass(slots=True)
class _Value:
    """How long one value has been the same, and whether the load changed meanwhile."""

    value: float | None = None
    since: float = 0.0
    reports: int = 0
    load: object = None
    load_changed: bool = False

    def is_frozen(self, value: float | None, load: object, now: float) -> bool:
        if value != self.value or value is None or value in (0.0, 1.0):
            self.value, self.since, self.reports, self.load, self.load_changed = value, now, 1, load, False
            return False
        self.reports += 1
        self.load_changed = self.load_changed or load != self.load
        return self.load_changed and self.reports >= FROZEN_REPORTS and now - self.since >= FROZEN_AFTER_S


class ReportValidator:
    """One member. Instants are those of the hearer's monotonic clock, in seconds; the member's own is only compared
    with itself. `doubted` counts the values that were not believed."""

    def __init__(self, kind: MemberKind, *, fresh_s: float) -> None:
        self.doubted = 0
        self.doubts: tuple[str, ...] = ()
        self._kind = kind
        self._fresh_s = fresh_s
        self._measured_at: object = None
        self._heard_at = 0.0
        self._reading: ValidatedReport | None = None
        self._busy = _Value()
        self._delay = _Value()

    def hear(self, report: Report, now: float) -> None:
        """Take a report in. One that was measured at the same instant as the one before it is the same once more."""
        if report.measured_at == self._measured_at:
            return
        self._measured_at = report.measured_at
        self._heard_at = now
        reading = validated(self._kind, report)
        load = (reading.rate, report.inflight, report.hot_queued, report.cold_queued)
        doubted = list(reading.doubted)
        if self._busy.is_frozen(reading.utilization, load, now):
            doubted.append("utilization")
            reading = replace(reading, utilization=None)
        if self._delay.is_frozen(reading.queue_delay_s, load, now):
            doubted.append("queue_delay")
            reading = replace(reading, queue_delay_s=None)
        self.doubts = tuple(doubted)
        self.doubted += len(doubted)
        self._reading = reading

    def reading(self, now: float) -> ValidatedReport | None:
        """The newest reading, or None if there is none that is fresh: silence says nothing, and least of all health."""
        age_s = now - self._heard_at
        return self._reading if 0.0 <= age_s <= self._fresh_s else None
