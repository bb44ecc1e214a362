"""One level's switch: quick to close, and the slower to open the sooner it has to close again.

The doubling hold is that of outlier ejection in gRPC (proposal A50), turned to levels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from sluice.degradation.sustained import ROUNDING_S

LONGEST_HOLD_S = 120.0
# Closed again within this time, the hold doubles; open for the longer one, it is forgotten.
REENTRY_S = 60.0
FORGET_S = 300.0


@dataclass(frozen=True, slots=True)
class Latch:
    """Whether a level is in force, since when (on the law's own clock), and how long it stays at least.

    `inherited` marks a level that was taken over and whose own condition has not been seen yet.
    """

    on: bool = False
    changed_at: float = -math.inf
    hold_s: float = 0.0
    inherited: bool = False

    def close(self, now: float, *, hold_s: float, inherited: bool = False) -> Latch:
        """In force from `now`, for `hold_s` at least, or longer after a quick return. No change if it is already."""
        if self.on:
            return self if inherited or not self.inherited else replace(self, inherited=False)
        open_s = now - self.changed_at
        if self.hold_s and open_s <= REENTRY_S:
            hold_s = min(2 * self.hold_s, LONGEST_HOLD_S)
        elif self.hold_s and open_s < FORGET_S:
            hold_s = self.hold_s
        return Latch(on=True, changed_at=now, hold_s=hold_s, inherited=inherited)

    def may_open(self, now: float) -> bool:
        """Whether it has held for long enough."""
        return self.on and now - self.changed_at >= self.hold_s - ROUNDING_S

    def open(self, now: float) -> Latch:
        """No longer in force from `now`."""
        return Latch(on=False, changed_at=now, hold_s=self.hold_s)


OPEN = Latch()
