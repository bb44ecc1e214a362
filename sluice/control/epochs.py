"""Epochs: which governor speaks, as numbers that are start times, and how far they are believed.

An epoch is the nanosecond since 1970 at which its governor started, with a random tail in place of the lowest bits, so
that two that start together differ. Nobody takes an epoch on trust: one that lies more than a day ahead of the wall
clock of whoever reads it is implausible. Such a number is a mistake or a lie, and no greater number can be taken to
pass it, so it never outranks a plausible one.
"""

from __future__ import annotations

from random import Random

BELIEVED_AHEAD_S = 86_400.0
"""How far ahead of the reader's wall clock an epoch is plausible."""
TAKEN_AHEAD_S = 82_800.0
"""How far ahead of its wall clock a governor takes an epoch itself: members whose clocks lag an hour believe it too."""
OLDEST_S = 10 * 365 * 86_400.0
"""How far behind the reader's wall clock an epoch can be that of a governor which is heard now, clocks being wrong."""
TAIL_BITS = 20
"""The random part, about a millisecond."""
LAST_EPOCH = 2**64 - 1


def latest_epoch(wall_s: float, *, ahead_s: float = BELIEVED_AHEAD_S) -> int:
    """The greatest epoch that is plausible at `wall_s`, in seconds since 1970 by the reader's wall clock."""
    return min(max(round((wall_s + ahead_s) * 1e9), 1), LAST_EPOCH)


def is_plausible(epoch: int, wall_s: float) -> bool:
    """Whether `epoch` can be the start time of a governor, seen at `wall_s`."""
    return epoch <= latest_epoch(wall_s)


def is_of_the_past(epoch: int, wall_s: float) -> bool:
    """Whether no governor that is heard at `wall_s` can have started at `epoch`, however wrong its clock is."""
    return epoch < round(max(0.0, wall_s - OLDEST_S) * 1e9)


def new_epoch(wall_s: float, dice: Random) -> int:
    """The epoch of a governor that starts at `wall_s`, at least 1."""
    return _with_tail(round(max(wall_s, 0.0) * 1e9), dice)


def epoch_above(epoch: int, wall_s: float, dice: Random) -> int | None:
    """One that is greater than `epoch` and that every reader believes at `wall_s`; None if there is none."""
    above = _with_tail(epoch + (1 << TAIL_BITS), dice)
    return above if epoch < above <= latest_epoch(wall_s, ahead_s=TAKEN_AHEAD_S) else None


def resumed_epoch(kept: int | None, fresh: int, *, latest: int) -> int:
    """The epoch of a governor that starts with `fresh` and finds that `kept` was taken before it by the same journal.

    It is greater than both, unless `kept` is beyond `latest`, which no governor takes: that was a mistake or a lie.
    """
    return fresh if kept is None or not 0 <= kept < latest else max(fresh, kept + 1)


def _with_tail(epoch: int, dice: Random) -> int:
    return min(max(epoch >> TAIL_BITS << TAIL_BITS | dice.getrandbits(TAIL_BITS), 1), LAST_EPOCH)
