"""The router's books: how every request ended, and what the last second was like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from sluice.domain.errors import Reason

WINDOW_S = 1.0
# Callers can name any model. What is beyond so many kinds of outcome is counted without a name.
MOST_OUTCOMES = 4_096
# The outcome of a request that was answered.
OK = "ok"
_REFUSED = frozenset({Reason.SATURATED, Reason.PRIORITY})


@dataclass(slots=True)
class Window:
    """One second's sums."""

    ended: int = 0
    expired: int = 0
    refused: int = 0
    diverted_s: float = 0.0


class RequestStats:
    """Counts outcomes by (model, tier, outcome, pool), and keeps sums over the last whole second."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self.outcomes: Counter[tuple[str, str, str, str]] = Counter()
        self._clock = clock
        self._current = Window()
        self._last = Window()
        self._started_at = clock()

    def count(self, model: str, tier: str, outcome: str, pool: str, *, times: int = 1) -> None:
        """A request, or `times` alike, ended with `outcome`: "ok" or a reason.

        `tier` is empty unless a tier answered, `model` if the request was refused unread.
        """
        key = model, tier, outcome, pool
        if key not in self.outcomes and len(self.outcomes) >= MOST_OUTCOMES:
            key = "", tier, outcome, pool
        self.outcomes[key] += times
        current = self._current
        current.ended += times
        if outcome == OK:
            return
        if outcome == Reason.EXPIRED:
            current.expired += times
        elif outcome in _REFUSED:
            current.refused += times

    def diverted(self, device_s: float) -> None:
        """A request was kept off the accelerators, of which it would have taken so many seconds."""
        self._current.diverted_s += device_s

    def last_window(self) -> Window:
        """The sums of the newest window that is complete; zeros when the last seconds were quiet."""
        elapsed_s = self._clock() - self._started_at
        if elapsed_s >= WINDOW_S:
            self._last = self._current if elapsed_s < 2 * WINDOW_S else Window()
            self._current = Window()
            self._started_at += elapsed_s
        return self._last
