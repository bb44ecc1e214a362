"""When a worker is dialled again: soon after it was lost, ever more slowly when it is absent or breaks the contract."""

from __future__ import annotations

FIRST_S = 0.05
MAX_ABSENT_S = 1.0
FIRST_REFUSED_S = 1.0
# A stream that has lasted so long makes up for all that was wrong before it.
REDEEMED_S = 60.0


class Redial:
    """Delays in seconds, before jitter. One that breaks the contract is dialled every `max_refused_s` in the end."""

    def __init__(self, *, max_refused_s: float) -> None:
        self._max_refused_s = max_refused_s
        self._absent_s = FIRST_S
        self._refused_s = 0.0

    @property
    def on_probation(self) -> bool:
        """Whether the worker broke the contract, and has not made up for it."""
        return self._refused_s > 0.0

    def after(self, *, was_up: bool, refused: bool, lasted_s: float) -> float:
        """How long to wait after a stream of `lasted_s`; `refused`: we ended it, for what the worker said."""
        if lasted_s >= REDEEMED_S:
            self._refused_s = 0.0
        if refused:
            self._refused_s = min(self._max_refused_s, max(FIRST_REFUSED_S, 2.0 * self._refused_s))
            return self._refused_s
        self._absent_s = FIRST_S if was_up else min(MAX_ABSENT_S, 2.0 * self._absent_s)
        return self._absent_s
