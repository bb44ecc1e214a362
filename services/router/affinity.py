"""Which variant answered a conversation last, so that it does not change its voice for little."""

from __future__ import annotations

from collections import OrderedDict

MOST = 100_000
IDLE_S = 900.0
_SWEEP = 4


class Affinity:
    """Variants by conversation: the newest `most`, each for `idle_s` after its last request. Clocks are arguments."""

    def __init__(self, *, most: int = MOST, idle_s: float = IDLE_S) -> None:
        self._most = most
        self._idle_s = idle_s
        self._last: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._last)

    def variant_of(self, conversation_id: str, now: float) -> str:
        """The variant that last answered the conversation; empty when there is none, or it was long ago."""
        variant_id, at = self._last.get(conversation_id, ("", now))
        return variant_id if now - at <= self._idle_s else ""

    def note(self, conversation_id: str, variant_id: str, now: float) -> None:
        """The conversation is answered by `variant_id` from now on."""
        last = self._last
        last[conversation_id] = variant_id, now
        last.move_to_end(conversation_id)
        if len(last) > self._most:
            last.popitem(last=False)
        # A few of the oldest at a time: nobody waits for a great sweep.
        for _ in range(_SWEEP):
            oldest = next(iter(last))
            if now - last[oldest][1] <= self._idle_s:
                break
            del last[oldest]
