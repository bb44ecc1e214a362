"""What the laws read: the fleet's state in a handful of numbers, each of which may be unknown."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.control.degradation.thresholds import Thresholds


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


# Whether a queue is long, short or standing, against what its callers can bear. All are False on what is unknown.


def is_long(signals: Signals, limits: Thresholds) -> bool:
    """Whether the delay is above the target."""
    return signals.delay_s is not None and signals.delay_s > limits.queue_target_s(signals.median_timeout_s)


def is_short(signals: Signals, limits: Thresholds) -> bool:
    """Whether the mean delay is below the target, and what stands of the queue below half of it."""
    target_s = limits.queue_target_s(signals.median_timeout_s)
    standing_s = signals.standing_queue_delay_s
    is_known = signals.delay_s is not None and standing_s is not None
    return is_known and (signals.delay_s or 0.0) < target_s and (standing_s or 0.0) < target_s / 2


def exceeds_entry_share(signals: Signals, limits: Thresholds) -> bool:
    """Whether the delay takes too large a part of the median time limit."""
    return _takes(signals.delay_s, limits.queue_enter, signals.median_timeout_s)


def queue_is_standing(signals: Signals, limits: Thresholds) -> bool:
    """Whether even the least delay of the last second is above the target."""
    standing_s = signals.standing_queue_delay_s
    return standing_s is not None and standing_s > limits.queue_target_s(signals.median_timeout_s)


def will_miss_deadlines(signals: Signals, limits: Thresholds) -> bool:
    """Whether even the least delay takes so much of the median time limit that most requests will miss it."""
    return _takes(signals.standing_queue_delay_s, limits.queue_far, signals.median_timeout_s)


def _takes(delay_s: float | None, part: float, limit_s: float | None) -> bool:
    return delay_s is not None and bool(limit_s) and delay_s > part * (limit_s or 0.0)
