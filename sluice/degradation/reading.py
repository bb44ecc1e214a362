"""One member's report as far as it can be believed: what is no number, or no possible one, is unknown."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sluice.control.fleet import Report
from sluice.domain.enums import MemberKind

LONGEST_DELAY_S = 3600.0
LONGEST_TIMEOUT_S = 86_400.0
HIGHEST_RATE = 1e9
# A ratio that rounding has put beyond 1 is not a lie.
TOLERANCE = 1e-6
# Several routers' diversions may together be more than the accelerators could take.
MOST_OFFLOADED = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
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


def read(kind: MemberKind, report: Report) -> Reading:
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
    return Reading(
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
