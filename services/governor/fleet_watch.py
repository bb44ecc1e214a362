"""Those who watch the fleet: no more than a bound, and the messages that all of them are sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sluice.control.codec import VariantCache, fleet_to_proto, transition_to_proto
from sluice.control.fleet import Fleet, Transition
from sluice.control.snapshot import split, watch_responses
from sluice.domain.errors import Saturated
from sluice.v1 import governor_service_pb2 as governor_pb2
from sluice.v1 import health_pb2

# The fleet as it is sent: made once for all who want it, at most every `SMALLEST_INTERVAL_S`, and cut into parts.


SMALLEST_INTERVAL_S = 0.05


class SnapshotCache:
    """Makes what watchers and routers are sent. `fleet` is the fleet now, `clock` in seconds."""

    def __init__(self, fleet: Callable[[], Fleet], *, clock: Callable[[], float]) -> None:
        self._fleet = fleet
        self._clock = clock
        self._cards = VariantCache()
        self._made_at = float("-inf")
        self._made_for = -1
        self._parts: list[health_pb2.Fleet] = []
        self._for_routers: list[governor_pb2.JoinResponse] = []

    def parts(self, changes: int) -> list[health_pb2.Fleet]:
        """The fleet as it is since `changes`."""
        now = self._clock()
        if changes != self._made_for or not 0.0 <= now - self._made_at < SMALLEST_INTERVAL_S:
            self._parts = split(fleet_to_proto(self._fleet(), self._cards))
            self._for_routers = []
            self._made_at, self._made_for = now, changes
        return self._parts

    def for_routers(self, changes: int) -> list[governor_pb2.JoinResponse]:
        """The same, as routers are told on their streams."""
        parts = self.parts(changes)
        if not self._for_routers:
            self._for_routers = [governor_pb2.JoinResponse(fleet=part) for part in parts]
        return self._for_routers


RETRY_AFTER_S = 5.0


class WatchLimiter:
    """Counts the watchers and encodes what they are sent, once for all where nothing but the fleet is told."""

    def __init__(self, snapshots: SnapshotCache, *, most: int) -> None:
        self._snapshots = snapshots
        self._most = most
        self._watching = 0
        self._encoded_from: list[health_pb2.Fleet] | None = None
        self._encoded: list[bytes] = []

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

    def messages(self, changes: int, transitions: Sequence[Transition]) -> list[bytes]:
        """Encoded WatchFleetResponses: the fleet as it is since `changes`, and `transitions`."""
        parts = self._snapshots.parts(changes)
        if transitions:
            told = [transition_to_proto(one) for one in transitions]
            return [one.SerializeToString() for one in watch_responses(parts, told)]
        if parts is not self._encoded_from:
            self._encoded = [one.SerializeToString() for one in watch_responses(parts, ())]
            self._encoded_from = parts
        return self._encoded
