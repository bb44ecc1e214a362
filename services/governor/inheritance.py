"""When a governor takes over levels that its members hold by another's word or their own.

It must after it has started or slept, when it knows less than they do. A member that comes later with another
governor's levels may be a straggler, and is heard as well; but anybody can say so, and levels that are taken over again
and again never end. So a straggler opens a window of a few seconds, in which all who come with it are heard, and the
next window opens a minute after it, then two, up to an hour; an hour of quiet makes it a minute again.
"""

from __future__ import annotations

import math

# For how long after it has heard of nobody a governor takes over what its own members have decided alone meanwhile.
WARM_S = 5.0
# For how long nothing is taken over after an operator has cleared what holds.
CLEARED_S = 60.0
FIRST_GAP_S = 60.0
LONGEST_GAP_S = 3_600.0


class Inheritance:
    """One governor's. Instants are of its monotonic clock, in seconds."""

    def __init__(self, *, now: float) -> None:
        self._warm_until = now + WARM_S
        self._deaf_until = -math.inf
        self._window_ends_at = -math.inf
        self._next_at = -math.inf
        self._gap_s = FIRST_GAP_S

    def warm_up(self, now: float) -> None:
        """It has started, slept, or heard nobody: what members tell from now on is taken over."""
        self._warm_until = now + WARM_S

    def clear(self, now: float) -> None:
        """An operator has ended what holds: who is late to come must not bring it back."""
        self._deaf_until = now + CLEARED_S

    def is_warm(self, now: float) -> bool:
        """Whether the governor knows less than its members."""
        return now < self._warm_until

    def may_take(self, now: float, *, is_warm: bool) -> bool:
        """Whether what a member holds is taken over now; where the governor is not warm, that opens a window."""
        if now < self._deaf_until:
            return False
        if is_warm or now < self._window_ends_at:
            return True
        if now < self._next_at:
            return False
        if now - self._window_ends_at > LONGEST_GAP_S:
            self._gap_s = FIRST_GAP_S
        self._window_ends_at = now + WARM_S
        self._next_at = self._window_ends_at + self._gap_s
        self._gap_s = min(2 * self._gap_s, LONGEST_GAP_S)
        return True
