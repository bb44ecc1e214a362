"""When a refused caller may come back. Pure: the state of the queue and the dice are arguments."""

from __future__ import annotations

from collections.abc import Callable

RANGE_S = (0.1, 0.5)
# Below this importance a caller is told not to come back while others wait.
WORTH_COMING_BACK = 0.5
LONGEST_S = 10.0


def retry_after_s(priority: float, *, queue_s: float, target_s: float, dice: Callable[[], float]) -> float | None:
    """Seconds after which to ask again; None: not at all.

    The longer the queue is against its set-point, the later; spread widely, so that those who were refused together
    do not come back together. `dice` gives a number in [0, 1).
    """
    if priority < WORTH_COMING_BACK:
        return None
    low, high = RANGE_S
    pressure = 1.0 + queue_s / target_s if target_s > 0 else 1.0
    return min(LONGEST_S, (low + (high - low) * dice()) * pressure)
