"""How busy a server is that nobody can look into: by how many of the texts that it may be given it writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Occupancy:
    """A server that writes half of its `places` for two seconds was busy for one. Changed by one thread only."""

    def __init__(self, places: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._places = places
        self._clock = clock
        # One object, so that another thread never sees half of a change: busy seconds, up to when, texts since then.
        self._state = (0.0, clock(), 0)

    @property
    def busy_s(self) -> float:
        """Seconds of work since the start. May be read from any thread."""
        busy_s, since, texts = self._state
        return busy_s + (self._clock() - since) * texts / self._places

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take a place for as long as the block runs."""
        self._change(1)
        try:
            yield
        finally:
            self._change(-1)

    def _change(self, by: int) -> None:
        self._state = (self.busy_s, self._clock(), self._state[2] + by)
