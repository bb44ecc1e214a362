"""What the workers together can serve, in device-seconds of work per second, learnt from what they do serve.

What is served says what can be served only while work stands in line for it. So the estimate follows the served rate
while there is a standing queue, and otherwise only rises with it. Before a queue has ever stood, nothing is known.
"""

from __future__ import annotations

from collections import deque

FOLLOW = 0.2
RISE = 0.5
NOMINAL_WINDOW_S = 0.1
MIN_WINDOWS = 3
MAX_WINDOWS = 10
BATCHES_SEEN = 4.0


class CapacityEstimate:
    """Fed with what is served; `per_s` is None until the workers have been seen at their limit."""

    __slots__ = ("_current", "_newest_per_s", "_past", "_rate_per_s", "per_s")

    def __init__(self) -> None:
        self.per_s: float | None = None
        self._rate_per_s = 0.0
        self._newest_per_s = 0.0
        self._current = 0.0
        self._past: deque[tuple[float, float]] = deque(maxlen=MAX_WINDOWS)

    def add(self, cost: float) -> None:
        """A request of `cost` device-seconds was answered."""
        self._current += cost

    @property
    def at_least_per_s(self) -> float:
        """The most that can be believed in: the capacity, or what was served lately, if only for a window."""
        return max(self.per_s or 0.0, self._rate_per_s, self._newest_per_s)

    def roll(self, elapsed_s: float, *, batch_s: float) -> None:
        """Close the window, which was open for `elapsed_s`. Batches of `batch_s` come in lumps, and are averaged."""
        self._past.append((self._current, elapsed_s))
        self._newest_per_s = self._current / elapsed_s
        self._current = 0.0
        windows = min(MAX_WINDOWS, max(MIN_WINDOWS, round(BATCHES_SEEN * batch_s / NOMINAL_WINDOW_S)))
        recent = list(self._past)[-windows:]
        self._rate_per_s = sum(cost for cost, _ in recent) / sum(span for _, span in recent)

    def learn(self, elapsed_s: float, *, stood: bool) -> None:
        """Learn from the window closed last; `stood` says that work stood in line for all of it."""
        rate_per_s = self._rate_per_s
        if rate_per_s <= 0:
            # Workers that stand still, as for a change of models, have not become slow.
            return
        if self.per_s is None:
            self.per_s = rate_per_s if stood else None
        elif stood or rate_per_s > self.per_s:
            weight = 1.0 - (1.0 - (FOLLOW if stood else RISE)) ** (elapsed_s / NOMINAL_WINDOW_S)
            self.per_s += weight * (rate_per_s - self.per_s)

    def skip(self) -> None:
        """Forget the windows at hand, which span a time in which nobody looked."""
        self._past.clear()
        self._current = 0.0
