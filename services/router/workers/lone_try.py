"""A worker that is kept free of new work for a moment, so that a suspect can be tried there alone. Pure."""

from __future__ import annotations

# So long a worker with other work is kept from more, so that it may run dry, and so long it then is not.
HOLD_S = 2.0
REST_S = 8.0
# The share of a suspect's remaining time in which a worker must come free for it.
WAIT_SHARE = 0.5
# With so many tokens a suspect has got past what it may have ended its worker by, and others may join it.
CLEARED_TOKENS = 4


class Reservation:
    """One worker's. Of all its time at most a fifth goes to suspects that wait. Times are of one clock, in seconds."""

    __slots__ = ("_next_at", "_until")

    def __init__(self) -> None:
        self._until = float("-inf")
        self._next_at = float("-inf")

    def hold(self, now: float) -> bool:
        """Keep the worker from new work, if it was not lately. Returns whether it is kept from it at `now`."""
        if now < self._until:
            return True
        if now < self._next_at:
            return False
        self._until = now + HOLD_S
        self._next_at = self._until + REST_S
        return True

    def is_held(self, now: float) -> bool:
        """Whether it gets nothing new."""
        return now < self._until

    def release(self) -> None:
        """The suspect has what it waited for, or waits no more."""
        self._until = float("-inf")

    def forget(self) -> None:
        """It is another process now."""
        self._until = self._next_at = float("-inf")
