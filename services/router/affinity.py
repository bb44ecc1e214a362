"""Which variant answered a conversation last, so that it does not change its voice for little."""

from __future__ import annotations

from collections import OrderedDict

# A few megabytes: what is remembered of conversations that nobody goes on with must not show in the router's memory.
MOST = 16_384
IDLE_S = 900.0
_SWEEP = 4


class Affinity:
    """Variants by conversation: the newest `most`, each for `idle_s` after its last request. Clocks are arguments.

    Kept are hashes of the names, so that an entry takes the same few bytes whatever a caller sends; two conversations
    of one hash would only share a hint.
    """

    def __init__(self, *, most: int = MOST, idle_s: float = IDLE_S) -> None:
        self._most = most
        self._idle_s = idle_s
        self._last: OrderedDict[int, tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._last)

    def variant_of(self, conversation_id: str, now: float) -> str:
        """The variant that last answered the conversation; empty when there is none, or it was long ago."""
        variant_id, at = self._last.get(hash(conversation_id), ("", now))
        return variant_id if now - at <= self._idle_s else ""

    def note(self, conversation_id: str, variant_id: str, now: float) -> None:
        """The conversation is answered by `variant_id` from now on."""
        last = self._last
        key = hash(conversation_id)
        last[key] = variant_id, now
        last.move_to_end(key)
        if len(last) > self._most:
            last.popitem(last=False)
        # A few of the oldest at a time: nobody waits for a great sweep.
        for _ in range(_SWEEP):
            oldest = next(iter(last))
            if now - last[oldest][1] <= self._idle_s:
                break
            del last[oldest]
