"""What a member says of itself in a report to its governor."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sluice.control.degradation.level_state import DegradationState
from sluice.domain.variant import Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A member's reading of itself; None says that a value was not measured. Ratios lie in [0, 1]."""

    measured_at: datetime
    utilization: float | None = None
    memory: float | None = None
    queue_delay_s: float | None = None
    hot_queued: int = 0
    cold_queued: int = 0
    inflight: int = 0
    deadline_miss_ratio: float | None = None
    variants: tuple[Variant, ...] = ()
    draining: bool = False
    requests_per_second: float = 0.0
    standing_queue_delay_s: float | None = None
    """The least time that a request of the last second waited; 0 as soon as nothing waited at some moment of it."""
    median_timeout_s: float | None = None
    """The median time limit of the requests of the last second."""
    refused_ratio: float | None = None
    """Share of what was offered in the last second that admission refused."""
    offloaded_utilization: float | None = None
    """What the work that level 1 diverts would add to the accelerators' mean utilisation."""
    full_reload_ratio: float | None = None
    """A worker's memory that reloading its full models would take, over the limit; None if it has released none."""
    lowering_ratio: float | None = None
    """A worker's memory that lower precisions would free, over the limit; None if it has none, or they are in force."""
    swap_trouble: str = ""
    """Why a change of what a worker holds was rolled back, or waits."""
    in_force: DegradationState | None = None
    """What the member decides by."""
    applied: tuple[int, int] | None = None
    """The version of the newest directive that it applied."""
    decides_alone: bool = False
    """Whether `in_force` is its own decision, because no governor was heard for a lease."""
