"""Which of two governors directs: the one with the greater epoch, as long as members say that they hear it.

A member that registers tells the epoch that it obeys, and whether a governor directed it within its lease. If so, and
that epoch is greater, another governor is alive and later: this one is stale, directs nobody, and lets its members go
to look for the other. If the member has been without a governor for a lease, the other is gone, and this one may take
a greater epoch. So an epoch only rises past one that fell silent, and two governors cannot outbid each other for ever.
"""

from __future__ import annotations

import math

MOST_LEASES = 5


class Superseded(Exception):
    """A governor with a greater epoch directs the fleet."""


class Fence:
    """What one governor knows of others. Instants are of its monotonic clock, in seconds."""

    def __init__(self, *, lease_s: float) -> None:
        self._lease_s = lease_s
        self._rival = 0
        self._first_heard_at = math.inf
        self._heard_at = -math.inf

    @property
    def rival(self) -> int:
        """The greatest epoch of another governor that was heard of."""
        return self._rival

    def hear(self, obeyed: int, *, mine: int, is_directed: bool, now: float) -> None:
        """A member obeys epoch `obeyed`, and was directed within its lease or not."""
        if obeyed <= mine or not is_directed:
            return
        if self._rival <= mine:
            self._first_heard_at = now
        self._rival = max(self._rival, obeyed)
        self._heard_at = now

    def stands_by(self, *, mine: int, now: float) -> bool:
        """Whether another governor directs, so that this one must not.

        After the last sign of the other's life that is believed for a lease, and for longer the longer it has lived:
        what was heard from the members of one that is dead already cannot span more than their lease.
        """
        patience_s = min(max(self._lease_s, self._heard_at - self._first_heard_at), MOST_LEASES * self._lease_s)
        return self._rival > mine and 0.0 <= now - self._heard_at <= patience_s
