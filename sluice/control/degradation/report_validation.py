"""What one member's reports are worth: old ones nothing, and neither those that repeat themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sluice.control.fleet import Report
from sluice.degradation.reading import Reading, read
from sluice.domain.enums import MemberKind

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


class Witness:
    """One member. Instants are those of the hearer's monotonic clock, in seconds; the member's own is only compared
    with itself. `doubted` counts the values that were not believed."""

    def __init__(self, kind: MemberKind, *, fresh_s: float) -> None:
        self.doubted = 0
        self.doubts: tuple[str, ...] = ()
        self._kind = kind
        self._fresh_s = fresh_s
        self._measured_at: object = None
        self._heard_at = 0.0
        self._reading: Reading | None = None
        self._busy = _Value()
        self._delay = _Value()

    def hear(self, report: Report, now: float) -> None:
        """Take a report in. One that was measured at the same instant as the one before it is the same once more."""
        if report.measured_at == self._measured_at:
            return
        self._measured_at = report.measured_at
        self._heard_at = now
        reading = read(self._kind, report)
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

    def reading(self, now: float) -> Reading | None:
        """The newest reading, or None if there is none that is fresh: silence says nothing, and least of all health."""
        age_s = now - self._heard_at
        return self._reading if 0.0 <= age_s <= self._fresh_s else None
