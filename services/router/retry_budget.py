"""How many second tries the router may spend: a share of what it sends, so that trouble is never multiplied.

A token bucket, as gRPC's retry throttling (proposal A6) and Finagle's retry budgets are.
"""

from __future__ import annotations

SHARE = 0.1


class RetryBudget:
    """Holds at most `burst` tries, and is full at first; infinitely many are no bound."""

    __slots__ = ("_burst", "_tries")

    def __init__(self, *, burst: float) -> None:
        self._burst = burst
        self._tries = burst

    def sent(self, requests: int) -> None:
        """So many requests were sent for the first time."""
        self._tries = min(self._burst, self._tries + SHARE * requests)

    def take(self) -> bool:
        """Whether one more second try may be made; it is then spent."""
        if self._tries < 1.0:
            return False
        self._tries -= 1.0
        return True
