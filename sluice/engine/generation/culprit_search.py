"""Which sequence makes a step fail: found by halving, while everybody else goes on. Pure: it knows names and counts.

Sequences of a step that failed are tried again in halves, each half until every one of it has got past the place where
the step failed. A half that fails is halved, and one that fails alone is the culprit. Nobody is accused of a failure
that does not repeat.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping

# A failed sequence is read again, which is one step, and then decodes one token: both kinds of step are tried.
_STEPS = 2


class CulpritSearch:
    """Groups of sequences that share the next steps. `convicted` counts culprits since a group last got through.

    `fruitless` counts searches that ended with nobody convicted since one was.
    """

    def __init__(self) -> None:
        self.convicted = 0
        self.fruitless = 0
        self._groups: deque[dict[str, int]] = deque()
        self._has_convicted = False

    @property
    def group(self) -> Collection[str] | None:
        """The sequences that are tried now; None while nothing is searched for, and all are welcome."""
        return self._groups[0].keys() if self._groups else None

    def failed(self, written: Mapping[str, int]) -> str | None:
        """A step of these sequences has failed; each has `written` so many tokens. Returns the culprit if it is found.

        Whoever is not in the step, but in its group, is tried after it.
        """
        if not written:
            # Nothing was computed for anybody.
            self.fruitless += 1
            return None
        was_tried = bool(self._groups)
        rest = self._groups.popleft() if self._groups else {}
        if not was_tried:
            self._has_convicted = False
        if was_tried and len(written) == 1 and rest.keys() == written.keys():
            (culprit,) = written
            self.convicted += 1
            self.fruitless = 0
            self._has_convicted = True
            return culprit
        names = list(written)
        # Alone in a step, but not in its group, it is tried alone first; and so is one that failed for the first time.
        middle = max(1, len(names) // 2)
        others = {name: count for name, count in rest.items() if name not in written}
        halves = [{name: written[name] + _STEPS for name in part} for part in (names[:middle], names[middle:])]
        self._groups.extendleft(group for group in reversed([*halves, others]) if group)
        return None

    def try_first(self, name: str) -> None:
        """Try a new sequence alone before everybody else."""
        self._groups.appendleft({name: _STEPS})

    def succeeded(self, written: Callable[[str], int | None]) -> None:
        """A step has succeeded. `written` says how many tokens a sequence has now, None when it has ended."""
        while self._groups:
            counts = {name: written(name) for name in self._groups[0]}
            if any(count is not None and count < self._groups[0][name] for name, count in counts.items()):
                return
            self.convicted = 0
            self._next_group()

    def skip(self) -> None:
        """There was nothing to do for the group that is tried."""
        if self._groups:
            self._next_group()

    def stop(self) -> None:
        """Search no more."""
        self._groups.clear()

    def _next_group(self) -> None:
        self._groups.popleft()
        if not self._groups and not self._has_convicted:
            self.fruitless += 1
