"""Those who watch the fleet: no more than a bound, and the messages that all of them are sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from services.governor.snapshots import Snapshots
from sluice.control.codec import transition_to_proto
from sluice.control.fleet import Transition
from sluice.control.snapshot import watch_responses
from sluice.domain.errors import Saturated
from sluice.v1 import health_pb2

RETRY_AFTER_S = 5.0


class Watchers:
    """Counts the watchers and encodes what they are sent, once for all where nothing but the fleet is told."""

    def __init__(self, snapshots: Snapshots, *, most: int) -> None:
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
