"""Which of two governors directs: the one with the greater epoch, as far as its members can be believed.

A member that registers tells the epoch that it obeys, and whether a governor directed it within its lease. If so, and
that epoch is greater and plausible, another governor may be alive and later. Then this one stands by: it ends its
members' streams, so that they find the other one.

What a member tells is a claim. Whoever can dial can make one, so standing by is a trial. If the other governor exists,
the members that were let go are directed by it from then on. If it does not, they come back when their lease has run
out, saying that they last obeyed this governor and hear nobody; that refutes the claim. This governor directs them
again, and for some time, longer after each such trial, no claim makes it stand by. Those who make one are only sent
away, and hurt nobody but themselves. So a false claim costs the fleet one lease of direction now and then, in which
members keep what they obey; and a true one costs nothing.

A trial that nobody refutes ends one to five leases after the last claim, after twenty leases at the latest, and is
followed by a lease in which no other begins: members that can reach nobody else get in then.
"""

from __future__ import annotations

import math
from enum import Enum

from sluice.control.epochs import is_plausible

MOST_LEASES = 5
LONGEST_TRIAL_LEASES = 20
FIRST_DISBELIEF_S = 60.0
LONGEST_DISBELIEF_S = 3_600.0


class Superseded(Exception):
    """A governor with a greater epoch directs the fleet, or this member."""


class Told(Enum):
    """What a registration says about other governors."""

    NOTHING = 0
    RIVAL = 1
    """Another governor with a greater epoch directs this member now."""
    SILENT_RIVAL = 2
    """Another governor with a greater epoch directed this member, and has fallen silent."""
    IMPLAUSIBLE = 3
    """An epoch that cannot be a governor's."""


class Leadership:
    """What one governor knows of others. Seconds throughout, of its monotonic clock; `wall_s` is its wall clock."""

    def __init__(self, *, lease_s: float) -> None:
        self._lease_s = lease_s
        self._rival = 0
        self._first_heard_at = math.inf
        self._heard_at = -math.inf
        self._began_at = -math.inf
        self._ended_at = -math.inf
        self._claimed_at = -math.inf
        self._disbelief_s = FIRST_DISBELIEF_S
        self._disbelieves_until = -math.inf

    @property
    def rival(self) -> int:
        """The greatest epoch of another governor that made this one stand by."""
        return self._rival

    def hear(self, obeyed: int, *, mine: int, is_directed: bool, now: float, wall_s: float) -> Told:
        """A member that registers obeys epoch `obeyed`, and was directed within its lease or not."""
        if not is_plausible(obeyed, wall_s):
            return Told.IMPLAUSIBLE
        if obeyed > mine:
            if not is_directed:
                return Told.SILENT_RIVAL
            if now - self._claimed_at > LONGEST_DISBELIEF_S:
                self._disbelief_s = FIRST_DISBELIEF_S
            self._claimed_at = now
            self._claim(obeyed, mine=mine, now=now)
            return Told.RIVAL
        if obeyed == mine and not is_directed and self.stands_by(mine=mine, now=now):
            self._refute(now)
        return Told.NOTHING

    def stands_by(self, *, mine: int, now: float) -> bool:
        """Whether another governor is taken to direct, so that this one must not."""
        return self._rival > mine and self._began_at <= now <= self._trial_ends_at()

    def disbelieves(self, now: float) -> bool:
        """Whether claims do not count now, because one was refuted or a trial has just ended."""
        return now < max(self._disbelieves_until, self._ended_at + self._lease_s)

    def _claim(self, epoch: int, *, mine: int, now: float) -> None:
        if not self.stands_by(mine=mine, now=now):
            ended_at = self._trial_ends_at()
            if ended_at <= now:
                self._ended_at = max(self._ended_at, ended_at)
            if self.disbelieves(now):
                return
            if self._rival <= mine:
                self._first_heard_at = now
            self._began_at = now
        self._rival = max(self._rival, epoch)
        self._heard_at = now

    def _refute(self, now: float) -> None:
        # A member may have been without a governor before the trial began, and proves nothing then.
        if now - self._began_at < self._lease_s:
            return
        self._began_at = -math.inf
        self._rival = 0
        self._disbelieves_until = now + self._disbelief_s
        self._disbelief_s = min(2 * self._disbelief_s, LONGEST_DISBELIEF_S)

    def _trial_ends_at(self) -> float:
        """After the last sign of the other's life a claim is believed for a lease, and longer the longer it has lived:
        what was heard from the members of one that is dead already cannot span more than their lease.
        """
        if self._began_at == -math.inf:
            return -math.inf
        patience_s = min(max(self._lease_s, self._heard_at - self._first_heard_at), MOST_LEASES * self._lease_s)
        return min(self._heard_at + patience_s, self._began_at + LONGEST_TRIAL_LEASES * self._lease_s)
