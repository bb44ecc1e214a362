"""Ejection: a worker that hangs gets nothing more, loses what it holds to others, and has to prove itself to come back.

As gRPC's outlier detection (proposal A50) does for hosts that fail, for hosts that say nothing: each time is longer
than the last, and never more than half of those who could do the work are sent away. Clocks are arguments, in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable

FIRST_S = 5.0
LONGEST_S = 60.0
# After so long without trouble a worker's past is forgotten.
PARDON_S = 300.0
LARGEST_SHARE = 0.5
SHORTEST_HANG_S = 0.25
SLOWEST_OF_A_HUNDRED = 2.33
HANG = 3.0


def hangs_after_s(expected_s: float, sigma_s: float) -> float:
    """How long a batch may take before its worker counts as stuck: three times what one in a hundred takes."""
    return max(SHORTEST_HANG_S, HANG * (expected_s + SLOWEST_OF_A_HUNDRED * sigma_s))


def may_eject(others_ejected: Iterable[tuple[int, int]]) -> bool:
    """Whether one more may go; for each of its variants: how many of how many workers are ejected already."""
    return all(ejected + 1 <= LARGEST_SHARE * workers for ejected, workers in others_ejected)


class WorkerHealth:
    """One worker's record.

    `stuck`: its oldest batch hangs, so it gets nothing, whether it is ejected or not. `probing`: it may have one batch
    of one item, and is trusted again when it has answered. `hangs` counts the batches in a row that hung.
    """

    __slots__ = ("_count", "_ejected_at", "_until", "hangs", "probing", "stuck")

    def __init__(self) -> None:
        self.stuck = False
        self.probing = False
        self.hangs = 0
        self._count = 0
        self._ejected_at = float("-inf")
        self._until = float("-inf")

    def hang(self) -> None:
        """Its oldest batch has taken too long."""
        self.stuck = True
        self.hangs += 1

    def eject(self, now: float) -> None:
        """It is sent away, for longer each time."""
        if now - self._ejected_at > PARDON_S:
            self._count = 0
        self._count += 1
        self._ejected_at = now
        self._until = now + min(LONGEST_S, FIRST_S * self._count)
        self.probing = True

    def pardon(self, now: float) -> None:
        """It may prove itself at once: it is needed."""
        self._until = now

    def answered(self, now: float) -> None:
        """It has answered a batch. What it hung on has then come back, which pardons a first time at once."""
        if self.stuck:
            self.stuck = False
            if self._count == 1:
                self._until = now
            return
        self.hangs = 0
        if now >= self._until:
            self.probing = False

    def probe(self) -> None:
        """It may have one batch of one item, until it has answered one."""
        self.probing = True

    def reconnected(self) -> None:
        """It is another process, or at least another stream: nothing hangs there any more."""
        self.stuck = self.probing = False
        self.hangs = 0
        self._until = float("-inf")

    def is_out(self, now: float) -> bool:
        """Whether it must get nothing at all."""
        return self.stuck or now < self._until

    @property
    def timing_is_valid(self) -> bool:
        """Whether the time of the batch that it answers now says how fast it is.

        One that hung for once was stopped, or its machine was; if the next one hangs too, it is slow.
        """
        return not self.stuck or self.hangs > 1

    @property
    def is_ejected(self) -> bool:
        """Whether it counts as sent away, until it has proved itself."""
        return self.probing
