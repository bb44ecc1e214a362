"""How long a condition has held without a break, and a running mean. Both are values: a step makes a new one."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Sums of ticks of 0.1 s fall short of a whole second by rounding.
ROUNDING_S = 1e-6


@dataclass(frozen=True, slots=True)
class Sustained:
    """Since when a condition holds, or None. What is unknown breaks it: a duration must be proven."""

    since: float | None = None

    def step(self, condition: bool | None, now: float) -> Sustained:
        """After a look at `now`."""
        if not condition:
            return NEVER
        return self if self.since is not None else Sustained(now)

    def lasts(self, for_s: float, now: float) -> bool:
        """Whether it has held for `for_s` at least."""
        return self.since is not None and now - self.since >= for_s - ROUNDING_S


NEVER = Sustained()


def smoothed(before: float | None, sample: float | None, *, elapsed_s: float, time_constant_s: float) -> float | None:
    """The exponentially weighted mean after one more `sample`; an unknown sample makes it unknown, the next anew."""
    if sample is None or before is None:
        return sample
    return before + (sample - before) * -math.expm1(-elapsed_s / time_constant_s)
