"""Those who watch the fleet: no more than a bound, and one message for all of them.

A message is made at most every `SMALLEST_INTERVAL_S` however many ask for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sluice.errors import Saturated
from sluice.fleet import Fleet
from sluice.fleet_wire import fleet_to_proto
from sluice.v1 import governor_service_pb2 as governor_pb2

SMALLEST_INTERVAL_S = 0.05
RETRY_AFTER_S = 5.0


class Watchers:
    """Counts the watchers and makes what they are sent. `fleet` is the fleet now."""

    def __init__(self, fleet: Callable[[], Fleet], *, most: int, clock: Callable[[], float]) -> None:
        self._fleet = fleet
        self._most = most
        self._clock = clock
        self._watching = 0
        self._made_at = float("-inf")
        self._made_for = -1
        self._message = b""

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """A watcher's stay. Raises Saturated when there are too many."""
        if self._watching >= self._most:
            raise Saturated(f"{self._most} watch the fleet already", retry_after_s=RETRY_AFTER_S)
        self._watching += 1
        try:
            yield
        finally:
            self._watching -= 1

    def message(self, changes: int) -> bytes:
        """A WatchFleetResponse with the fleet as it is since `changes`, encoded."""
        now = self._clock()
        if changes != self._made_for or not 0.0 <= now - self._made_at < SMALLEST_INTERVAL_S:
            response = governor_pb2.WatchFleetResponse(fleet=fleet_to_proto(self._fleet()))
            self._message = response.SerializeToString()
            self._made_at, self._made_for = now, changes
        return self._message
