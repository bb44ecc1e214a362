"""What the router's last second says about load: what its report and its own limiter read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import log2

BINS_PER_OCTAVE = 4
RANGE_S = (1e-3, 86_400.0)
# A median needs no more of a window, however many requests come in it.
MAX_COUNTED = 256


class TimeoutMedian:
    """Counts time limits in bins a fifth apart, window by window."""

    __slots__ = ("_counted", "_current", "_past")

    def __init__(self, *, windows: int) -> None:
        self._counted = 0
        self._current: dict[int, list[float]] = {}
        self._past: deque[dict[int, list[float]]] = deque(maxlen=windows)

    def add(self, timeout_s: float) -> None:
        """A request came with so much time. Of a window the first `MAX_COUNTED` count."""
        if self._counted >= MAX_COUNTED:
            return
        self._counted += 1
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
        self._counted = 0

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


WINDOWS = 10


class LoadSignals:
    """One resource's last ten ticks of a tenth of a second. Every value is None while there is nothing to measure."""

    __slots__ = (
        "_answered", "_past", "_queue_delays_s", "_timeouts", "_waited_s", "median_timeout_s",
    )  # fmt: skip

    def __init__(self) -> None:
        self._answered = 0
        self._waited_s = 0.0
        self._past: deque[tuple[int, float]] = deque(maxlen=WINDOWS)
        self._queue_delays_s: deque[float] = deque(maxlen=WINDOWS)
        self._timeouts = TimeoutMedian(windows=WINDOWS)
        self.median_timeout_s: float | None = None

    def came_with(self, timeout_s: float) -> None:
        """A request came with so much time until its deadline."""
        self._timeouts.add(timeout_s)

    def waited(self, queue_s: float, requests: int = 1) -> None:
        """Requests that were answered, or generations that were begun, had waited so long in all."""
        self._answered += requests
        self._waited_s += queue_s

    def roll(self, queue_s: float) -> None:
        """A tick ends; what waits now would take `queue_s` to serve."""
        self._past.append((self._answered, self._waited_s))
        self._answered, self._waited_s = 0, 0.0
        self._queue_delays_s.append(queue_s)
        self._timeouts.roll()
        self.median_timeout_s = self._timeouts.median_s()

    @property
    def queue_delay_s(self) -> float | None:
        """The mean wait of what was answered."""
        answered = sum(count for count, _ in self._past)
        return sum(waited_s for _, waited_s in self._past) / answered if answered else None

    @property
    def standing_queue_delay_s(self) -> float | None:
        """The shortest that the queue was, in seconds of work: a burst that was worked off leaves none."""
        return min(self._queue_delays_s, default=None)

    @property
    def pressure(self) -> tuple[float, float]:
        """How much of its callers' patience the queue takes; without a known limit, the delay itself decides."""
        delay_s = max(self.queue_delay_s or 0.0, self.standing_queue_delay_s or 0.0)
        return delay_s / (self.median_timeout_s or 1.0), delay_s


class RouterSignals:
    """What the router's report says: refusals of all requests, delays and time limit of the resource worst off."""

    __slots__ = ("_offered", "_past", "_refused", "worst")

    def __init__(self) -> None:
        self.worst = LoadSignals()
        self._offered = 0
        self._refused = 0
        self._past: deque[tuple[int, int]] = deque(maxlen=WINDOWS)

    def offered(self, count: int = 1) -> None:
        """Requests were offered, whatever became of them."""
        self._offered += count

    def refused(self, count: int = 1) -> None:
        """Requests that were offered were refused by admission."""
        self._refused += count

    def roll(self, resources: Iterable[LoadSignals]) -> None:
        """A tick ends, and those of the resources have just ended."""
        self._past.append((self._offered, self._refused))
        self._offered = self._refused = 0
        self.worst = max(resources, key=lambda one: one.pressure, default=None) or LoadSignals()

    @property
    def refused_ratio(self) -> float | None:
        """The share of what was offered in the last second that admission refused, in [0, 1]."""
        offered = sum(count for count, _ in self._past)
        return sum(refused for _, refused in self._past) / offered if offered else None

    @property
    def queue_delay_s(self) -> float | None:
        """The mean wait of what was answered, at the resource that is worst off."""
        return self.worst.queue_delay_s

    @property
    def standing_queue_delay_s(self) -> float | None:
        """The shortest that the queue was there."""
        return self.worst.standing_queue_delay_s

    @property
    def median_timeout_s(self) -> float | None:
        """The median time limit there."""
        return self.worst.median_timeout_s
