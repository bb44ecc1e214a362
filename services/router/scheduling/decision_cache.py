"""Precedents: what was decided a moment ago for a request just like this one, while nobody was in a hurry.

When every variant answers in a fraction of the time there is, the choice does not depend on when each would, and a few
like requests more change nothing. What was decided is then decided for them too, until there is another outlook.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from services.router.scheduling.latency_estimator import Candidate
from services.router.scheduling.scoring import Assignment, SchedulingRequest

# Which variant answered a conversation last, so that it does not change its voice for little.


# A few megabytes: what is remembered of conversations that nobody goes on with must not show in the router's memory.
MOST = 16_384
IDLE_S = 900.0
_SWEEP = 4


class SessionAffinity:
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


# Nobody is in a hurry when an answer is expected in this share of the time there is, ...
SLACK_FRACTION = 0.25
# ... and the like requests that follow make it no later than by this share.
ROOM = 0.1
MOST_USES = 64

Key = tuple[object, ...]
"""Equal for requests that are treated alike, with time left of the same order."""


class _Precedent:
    __slots__ = ("assignment", "uses")

    def __init__(self, assignment: Assignment, uses: int) -> None:
        self.assignment = assignment
        self.uses = uses


class DecisionCache:
    """Decisions by key, each for so many uses. They hold for one outlook at one set of prices."""

    def __init__(self) -> None:
        self._held: dict[Key, _Precedent] = {}

    def forget(self) -> None:
        """There is another outlook, or another price."""
        self._held.clear()

    def find(self, key: Key) -> Assignment | None:
        """What was decided for `key`, if it may be used once more."""
        held = self._held.get(key)
        if held is None or not held.uses:
            return None
        held.uses -= 1
        return held.assignment

    def note(self, key: Key, assignment: Assignment, ask: SchedulingRequest, options: Iterable[Candidate]) -> None:
        """It was decided so, among `options`. Whoever is in a hurry sets no precedent."""
        most_s = SLACK_FRACTION * ask.slack_s
        if all(option.expected_s <= most_s and option.chance >= 1.0 for option in options):
            cost_s = max(1e-9, assignment.token_s * ask.tokens)
            self._held[key] = _Precedent(assignment, int(min(MOST_USES, ROOM * ask.slack_s / cost_s)))
