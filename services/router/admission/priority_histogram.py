"""What is offered, by priority: device-seconds in each of 128 bins over the last windows.

The limiter reads its threshold off it: the least important bin that the room still reaches (DAGOR, arXiv 1806.04075).
"""

from __future__ import annotations

from collections import deque

BINS = 128
WINDOWS = 5


def bin_of(priority: float) -> int:
    """The bin of a priority in [0, 1]; 1.0 belongs to the highest."""
    return min(BINS - 1, int(priority * BINS))


class PriorityHistogram:
    """Counts cost by bin in a window that is open, and remembers the last five that are closed."""

    __slots__ = ("_current", "_past", "_sums", "_window_costs")

    def __init__(self) -> None:
        self._current = [0.0] * BINS
        self._past: deque[tuple[list[float], float]] = deque(maxlen=WINDOWS)
        self._sums = [0.0] * BINS
        self._window_costs: deque[float] = deque(maxlen=WINDOWS)

    def add(self, bin_: int, cost: float) -> None:
        """A request of `cost` device-seconds was offered, whatever became of it."""
        self._current[bin_] += cost

    def roll(self, elapsed_s: float) -> None:
        """Close the window, which was open for `elapsed_s`, and open the next."""
        self._past.append((self._current, elapsed_s))
        self._window_costs.append(sum(self._current))
        self._sums = [sum(column) for column in zip(*(costs for costs, _ in self._past), strict=True)]
        self._current = [0.0] * BINS

    def clear(self) -> None:
        """Forget everything: the windows at hand span a time in which nobody looked."""
        self._past.clear()
        self._window_costs.clear()
        self._sums = [0.0] * BINS
        self._current = [0.0] * BINS

    def offered_per_s(self, windows: int) -> float:
        """Cost per second offered over the last `windows` closed ones; 0 before the first."""
        spans = [elapsed_s for _, elapsed_s in self._past][-windows:]
        return sum(list(self._window_costs)[-windows:]) / sum(spans) if spans else 0.0

    def boundary(self, share: float) -> tuple[int, float]:
        """Which bin the most important `share` of what was offered ends in, and how much of that bin belongs to it.

        (-1, 1.0) when the share covers everything that was offered.
        """
        left = share * sum(self._sums)
        for bin_ in range(BINS - 1, -1, -1):
            cost = self._sums[bin_]
            if cost > left:
                return bin_, max(0.0, left / cost)
            left -= cost
        return -1, 1.0
