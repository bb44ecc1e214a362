"""How many requests are open at a time, seen for long enough that a batch just answered is not missed."""

from __future__ import annotations

PEAK_WINDOW_S = 0.05


class Crowd:
    """The peak of the open requests in this window and the one before. The clock is an argument."""

    __slots__ = ("_last_peak", "_peak", "_started_at")

    def __init__(self) -> None:
        self._peak = 0
        self._last_peak = 0
        self._started_at = 0.0

    def count(self, open_requests: int, now: float) -> int:
        """So many are open at `now` (seconds, never falling); returns the peak."""
        elapsed_s = now - self._started_at
        if elapsed_s >= PEAK_WINDOW_S:
            # After a pause longer than a window nobody is left of the crowd before it.
            self._last_peak = self._peak if elapsed_s < 2 * PEAK_WINDOW_S else 0
            self._peak = 0
            self._started_at = now
        self._peak = max(self._peak, open_requests)
        return max(self._peak, self._last_peak)
