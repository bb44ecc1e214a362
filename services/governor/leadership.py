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

# When a governor takes over levels that its members hold by another's word or their own.
#
# It must after it has started or slept, when it knows less than they do. A member that comes later with another
# governor's levels may be a straggler, and is heard as well; but anybody can say so, and levels that are taken over
# again and again never end. So a straggler opens a window of a few seconds, in which all who come with it are heard,
# and the next window opens a minute after it, then two, up to an hour; an hour of quiet makes it a minute again.


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

    def can_accept(self, now: float, *, is_warm: bool) -> bool:
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
        if obeyed == mine and not is_directed and self.is_standby(mine=mine, now=now):
            self._refute(now)
        return Told.NOTHING

    def is_standby(self, *, mine: int, now: float) -> bool:
        """Whether another governor is taken to direct, so that this one must not."""
        return self._rival > mine and self._began_at <= now <= self._trial_ends_at()

    def disbelieves(self, now: float) -> bool:
        """Whether claims do not count now, because one was refuted or a trial has just ended."""
        return now < max(self._disbelieves_until, self._ended_at + self._lease_s)

    def _claim(self, epoch: int, *, mine: int, now: float) -> None:
        if not self.is_standby(mine=mine, now=now):
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
