"""What the laws read: the fleet's state in a handful of numbers, each of which may be unknown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """One reading. None is unknown, and neither good nor bad. Ratios lie in [0, 1], delays and limits are seconds.

    `alone` says that these are one member's own: what is None then is out of its sight, not missing.
    """

    utilization: float | None = None
    """Mean busy share of the accelerators that are heard of."""
    utilization_max: float | None = None
    """The busiest accelerator's; for the record, no law acts on it."""
    cpu_utilization: float | None = None
    """Mean busy share of the CPU workers: whether there is room for what leaves the accelerators."""
    memory: float | None = None
    """The fullest accelerator worker's memory."""
    cpu_memory: float | None = None
    """The fullest CPU worker's memory."""
    full_reload_ratio: float = 0.0
    """How far `memory` would rise if the full models that were released came back."""
    lowering_ratio: float = 0.0
    """How far `memory` would fall if full models were held in the lower precisions that there are for them."""
    queue_delay_s: float | None = None
    """Mean wait of what was answered in the last second, at the router that is worst off."""
    standing_queue_delay_s: float | None = None
    """The least wait of the last second there: what does not go away between batches."""
    median_timeout_s: float | None = None
    """The median time limit of the requests there."""
    deadline_miss_ratio: float | None = None
    """Share of the requests that missed their deadlines, over all routers."""
    refused_ratio: float | None = None
    """Share of the requests that admission refused, over all routers."""
    offloaded_utilization: float | None = None
    """What the work that level 1 diverts would add to `utilization`."""
    alone: bool = False

    @property
    def delay_s(self) -> float | None:
        """The worse of the two delays that is known."""
        known = [one for one in (self.queue_delay_s, self.standing_queue_delay_s) if one is not None]
        return max(known, default=None)

    @property
    def memory_anywhere(self) -> float | None:
        """The fullest worker's memory."""
        return max((one for one in (self.memory, self.cpu_memory) if one is not None), default=None)


UNKNOWN = Signals()
