"""How fast requests come, over windows long enough to count and short enough to notice a change."""

from __future__ import annotations

RATE_WINDOW_S = 0.02


class ArrivalRate:
    """Requests per second in the last whole window. The clock is an argument."""

    __slots__ = ("_count", "_per_second", "_started_at")

    def __init__(self) -> None:
        self._count = 0
        self._per_second = 0.0
        self._started_at = 0.0

    def count(self, now: float) -> float:
        """A request came at `now` (seconds, never falling); returns the rate."""
        self._count += 1
        elapsed_s = now - self._started_at
        if elapsed_s >= RATE_WINDOW_S:
            self._per_second = self._count / elapsed_s
            self._count = 0
            self._started_at = now
        return self._per_second
