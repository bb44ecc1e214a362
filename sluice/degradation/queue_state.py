"""Whether a queue is long, short or standing, against what its callers can bear. All are False on what is unknown."""

from __future__ import annotations

from sluice.control.degradation.signals import Signals
from sluice.control.degradation.thresholds import Thresholds


def is_long(signals: Signals, limits: Thresholds) -> bool:
    """Whether the delay is above the target."""
    return signals.delay_s is not None and signals.delay_s > limits.queue_target_s(signals.median_timeout_s)


def is_short(signals: Signals, limits: Thresholds) -> bool:
    """Whether the mean delay is below the target, and what stands of the queue below half of it."""
    target_s = limits.queue_target_s(signals.median_timeout_s)
    standing_s = signals.standing_queue_delay_s
    is_known = signals.delay_s is not None and standing_s is not None
    return is_known and (signals.delay_s or 0.0) < target_s and (standing_s or 0.0) < target_s / 2


def is_late(signals: Signals, limits: Thresholds) -> bool:
    """Whether the delay takes too large a part of the median time limit."""
    return _takes(signals.delay_s, limits.queue_enter, signals.median_timeout_s)


def stands(signals: Signals, limits: Thresholds) -> bool:
    """Whether even the least delay of the last second is above the target."""
    standing_s = signals.standing_queue_delay_s
    return standing_s is not None and standing_s > limits.queue_target_s(signals.median_timeout_s)


def is_far(signals: Signals, limits: Thresholds) -> bool:
    """Whether even the least delay takes so much of the median time limit that most requests will miss it."""
    return _takes(signals.standing_queue_delay_s, limits.queue_far, signals.median_timeout_s)


def _takes(delay_s: float | None, part: float, limit_s: float | None) -> bool:
    return delay_s is not None and bool(limit_s) and delay_s > part * (limit_s or 0.0)
