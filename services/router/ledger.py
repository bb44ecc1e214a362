"""The router's books: how every request ended, and what the last second was like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from sluice.errors import Reason

WINDOW_S = 1.0


@dataclass(slots=True)
class Window:
    """One second's sums."""

    ended: int = 0
    expired: int = 0
    dispatched: int = 0
    waited_s: float = 0.0


class Ledger:
    """Counts outcomes by (model, tier, outcome, pool), and keeps sums over the last whole second."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self.outcomes: Counter[tuple[str, str, str, str]] = Counter()
        self._clock = clock
        self._current = Window()
        self._last = Window()
        self._started_at = clock()

    def count(self, model: str, tier: str, outcome: str, pool: str) -> None:
        """A request ended with `outcome`: "ok" or a reason. `tier` is empty unless a tier answered."""
        self.outcomes[model, tier, outcome, pool] += 1
        self._current.ended += 1
        if outcome == Reason.EXPIRED:
            self._current.expired += 1

    def waited(self, seconds: float) -> None:
        """A request that was answered had waited so long in the queue."""
        self._current.dispatched += 1
        self._current.waited_s += seconds

    def last_window(self) -> Window:
        """The sums of the newest window that is complete; zeros when the last seconds were quiet."""
        elapsed_s = self._clock() - self._started_at
        if elapsed_s >= WINDOW_S:
            self._last = self._current if elapsed_s < 2 * WINDOW_S else Window()
            self._current = Window()
            self._started_at += elapsed_s
        return self._last
