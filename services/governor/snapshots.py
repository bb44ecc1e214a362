"""The fleet as it is sent: made once for all who want it, at most every `SMALLEST_INTERVAL_S`, and cut into parts."""

from __future__ import annotations

from collections.abc import Callable

from sluice.control.fleet import Fleet
from sluice.control.snapshot import split
from sluice.fleet_wire import VariantCache, fleet_to_proto
from sluice.v1 import governor_service_pb2 as governor_pb2
from sluice.v1 import health_pb2

SMALLEST_INTERVAL_S = 0.05


class Snapshots:
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
