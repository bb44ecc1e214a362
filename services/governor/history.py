"""The changes of the levels that this governor knows of, oldest first. Bounded; a journal keeps them over a death."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

from sluice.control.fleet import Transition


class History:
    """`recorded` counts all that were ever added: what a reader has seen up to."""

    def __init__(self, past: Iterable[Transition] = (), *, most: int) -> None:
        self._kept = deque(past, maxlen=most)
        self.recorded = len(self._kept)

    def add(self, transition: Transition) -> None:
        """The newest."""
        self._kept.append(transition)
        self.recorded += 1

    def last(self, count: int) -> list[Transition]:
        """At most the newest `count`, oldest first."""
        kept = len(self._kept)
        return list(islice(self._kept, max(0, kept - count), kept))

    def since(self, seen: int) -> list[Transition]:
        """Those that were added after `recorded` was `seen`, as far as they are still kept."""
        return self.last(self.recorded - seen)
