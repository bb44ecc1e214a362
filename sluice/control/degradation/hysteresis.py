"""One level's switch: quick to close, and the slower to open the sooner it has to close again.

The doubling hold is that of outlier ejection in gRPC (proposal A50), turned to levels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

# How long a condition has held without a break, and a running mean. Both are values: a step makes a new one.


# Sums of ticks of 0.1 s fall short of a whole second by rounding.
ROUNDING_S = 1e-6


@dataclass(frozen=True, slots=True)
class SustainedCondition:
    """Since when a condition holds, or None. What is unknown breaks it: a duration must be proven."""

    since: float | None = None

    def step(self, condition: bool | None, now: float) -> SustainedCondition:
        """After a look at `now`."""
        if not condition:
            return UNMET
        return self if self.since is not None else SustainedCondition(now)

    def lasts(self, for_s: float, now: float) -> bool:
        """Whether it has held for `for_s` at least."""
        return self.since is not None and now - self.since >= for_s - ROUNDING_S


UNMET = SustainedCondition()


def smoothed(before: float | None, sample: float | None, *, elapsed_s: float, time_constant_s: float) -> float | None:
    """The exponentially weighted mean after one more `sample`; an unknown sample makes it unknown, the next anew."""
    if sample is None or before is None:
        return sample
    return before + (sample - before) * -math.expm1(-elapsed_s / time_constant_s)


LONGEST_HOLD_S = 120.0
# Closed again within this time, the hold doubles; open for the longer one, it is forgotten.
REENTRY_S = 60.0
FORGET_S = 300.0


@dataclass(frozen=True, slots=True)
class HoldTimer:
    """Whether a level is in force, since when (on the law's own clock), and how long it stays at least.

    `inherited` marks a level that was taken over and whose own condition has not been seen yet.
    """

    on: bool = False
    changed_at: float = -math.inf
    hold_s: float = 0.0
    inherited: bool = False

    def close(self, now: float, *, hold_s: float, inherited: bool = False) -> HoldTimer:
        """In force from `now`, for `hold_s` at least, or longer after a quick return. No change if it is already."""
        if self.on:
            return self if inherited or not self.inherited else replace(self, inherited=False)
        open_s = now - self.changed_at
        if self.hold_s and open_s <= REENTRY_S:
            hold_s = min(2 * self.hold_s, LONGEST_HOLD_S)
        elif self.hold_s and open_s < FORGET_S:
            hold_s = self.hold_s
        return HoldTimer(on=True, changed_at=now, hold_s=hold_s, inherited=inherited)

    def may_open(self, now: float) -> bool:
        """Whether it has held for long enough."""
        return self.on and now - self.changed_at >= self.hold_s - ROUNDING_S

    def open(self, now: float) -> HoldTimer:
        """No longer in force from `now`."""
        return HoldTimer(on=False, changed_at=now, hold_s=self.hold_s)


OPEN = HoldTimer()
