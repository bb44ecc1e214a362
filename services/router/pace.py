"""How a worker's times for a variant compare with its profile just now: a ratio and its spread, learnt from results."""

from __future__ import annotations

import math

HALF_LIFE_S = 5.0
# What is learnt in minutes is what is usual, ...
USUAL_HALF_LIFE_S = 60.0
# ... and what differs from it is forgotten in a pause, by half in so many seconds: who is thought slow is not asked,
# and would be thought slow for ever.
PAUSE_S = 1.0
FORGOTTEN_S = 2.5
# One batch, however odd, moves the ratio no further than this many times.
WILDEST = 8.0
RATIOS = (1e-4, 1e4)
# A profile of which one of the first so many results takes less than such a part is believed no longer.
FEW = 16
REFUTED = 3.0


class Pace:
    """Actual over predicted time, as an exponentially weighted mean with its mean absolute deviation.

    The deviation stands in for the standard one, as in TCP's retransmission timer (Jacobson, 1988). While no result
    comes, what was learnt lately is forgotten towards what is usual, so that a worker that was slow once is given
    another chance. Clocks are arguments, in seconds.
    """

    __slots__ = ("_at", "_deviation", "_has_profile", "_ratio", "_usual", "samples")

    def __init__(self, *, spread: float, has_profile: bool) -> None:
        self.samples = 0
        self._has_profile = has_profile
        self._ratio = 1.0
        self._usual = 1.0
        self._deviation = spread
        self._at = float("-inf")

    def observe(self, predicted_s: float, actual_s: float, now: float) -> None:
        """A batch took `actual_s` where the profile said `predicted_s`."""
        if predicted_s <= 0.0 or not 0.0 <= actual_s < float("inf"):
            return
        before = self.ratio(now)
        seen = min(RATIOS[1], max(RATIOS[0], actual_s / predicted_s))
        known = self.samples + (1 if self._has_profile else 0)
        if known:
            seen = min(before * WILDEST, max(before / WILDEST, seen))
        weight = 1.0 / (known + 1)
        if self.samples:
            weight = max(weight, 1.0 - math.exp2(-max(0.0, (now - self._at) / HALF_LIFE_S)))
        # A device may be slow for a while, but is never fast by accident: the profile was measured on a busy one.
        is_refuted = self.samples < FEW and seen < before / REFUTED
        if is_refuted:
            weight = max(weight, 0.5)
        self._deviation += weight * (abs(seen - before) / max(before, seen) - self._deviation)
        self._ratio = before + weight * (seen - before)
        self._get_used(now, is_first=not known or is_refuted)
        self._at = now
        self.samples += 1

    def _get_used(self, now: float, *, is_first: bool) -> None:
        elapsed_s = min(HALF_LIFE_S, max(0.0, now - self._at)) if self.samples else 0.0
        weight = 1.0 if is_first else 1.0 - math.exp2(-elapsed_s / USUAL_HALF_LIFE_S)
        self._usual += weight * (self._ratio - self._usual)

    def ratio(self, now: float) -> float:
        """What to multiply the profile's times with."""
        if not self.samples:
            return self._ratio
        kept = math.exp2(-max(0.0, now - self._at - PAUSE_S) / FORGOTTEN_S)
        return self._usual + (self._ratio - self._usual) * kept

    @property
    def at(self) -> float:
        """When the last result came; minus infinity before the first."""
        return self._at

    @property
    def spread(self) -> float:
        """The mean absolute deviation, as a share of the expected time."""
        return self._deviation
