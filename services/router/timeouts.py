"""The time limits that callers give, and their median over the last second. Memory does not grow with the callers."""

from __future__ import annotations

from collections import deque
from math import log2

BINS_PER_OCTAVE = 4
RANGE_S = (1e-3, 86_400.0)


class Timeouts:
    """Counts time limits in bins a fifth apart, window by window."""

    __slots__ = ("_current", "_past")

    def __init__(self, *, windows: int) -> None:
        self._current: dict[int, list[float]] = {}
        self._past: deque[dict[int, list[float]]] = deque(maxlen=windows)

    def add(self, timeout_s: float) -> None:
        """A request came with so much time."""
        seconds = min(RANGE_S[1], max(RANGE_S[0], timeout_s))
        bin_ = int(log2(seconds) * BINS_PER_OCTAVE)
        entry = self._current.get(bin_)
        if entry is None:
            self._current[bin_] = [1, seconds]
        else:
            entry[0] += 1
            entry[1] += seconds

    def roll(self) -> None:
        """Close the window and open the next."""
        self._past.append(self._current)
        self._current = {}

    def median_s(self) -> float | None:
        """The mean of the bin in which the median of the closed windows lies; None when they are empty."""
        sums: dict[int, list[float]] = {}
        for window in self._past:
            for bin_, (count, seconds) in window.items():
                entry = sums.setdefault(bin_, [0, 0.0])
                entry[0] += count
                entry[1] += seconds
        left = sum(count for count, _ in sums.values()) / 2
        for bin_ in sorted(sums):
            count, seconds = sums[bin_]
            left -= count
            if left <= 0:
                return seconds / count
        return None
