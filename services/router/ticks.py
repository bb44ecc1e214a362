"""The passing of time between looks that should come every tenth of a second, and what it says when they do not."""

from __future__ import annotations

TICK_S = 0.1
# Timers come a little late on any machine that has something to do.
SLACK_S = 0.02
# One look that is later than this followed a pause of the whole process, not an overload.
LONGEST_S = 1.0


class Ticks:
    """Fed with instants of a monotonic clock, in seconds."""

    __slots__ = ("_at", "_late_s", "lag_s")

    def __init__(self) -> None:
        self.lag_s = 0.0
        self._at: float | None = None
        self._late_s = 0.0

    def tick(self, now: float) -> float | None:
        """Seconds since the last look, or None when what was counted meanwhile says nothing.

        That is so at first, when the clock went back, and after a pause. Whoever is late again and again is not paused
        but overloaded. `lag_s` is by how much the last two looks were late at least: so long does everything stand in
        the event loop's own queue.
        """
        before, self._at = self._at, now
        if before is None or now <= before:
            self.lag_s = self._late_s = 0.0
            return None
        elapsed_s = now - before
        late_s, was_late_s = max(0.0, elapsed_s - TICK_S - SLACK_S), self._late_s
        self._late_s = late_s
        self.lag_s = min(late_s, was_late_s)
        return None if elapsed_s > LONGEST_S >= was_late_s + TICK_S + SLACK_S else elapsed_s
