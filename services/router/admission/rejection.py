"""Refusals ready for the wire. Under overload most callers get one, so each is made once and given out many times."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import grpc

from sluice.domain.enums import Level
from sluice.domain.errors import Outranked, Reason, Saturated
from sluice.domain.status import Trailers, to_item_status, trailers
from sluice.v1 import inference_service_pb2 as inference_pb2

RANGE_S = (0.1, 0.5)
# Below this importance a caller is told not to come back while others wait.
WORTH_COMING_BACK = 0.5
LONGEST_S = 10.0


def retry_after_s(priority: float, *, queue_s: float, target_s: float, dice: Callable[[], float]) -> float | None:
    """Seconds after which to ask again; None: not at all.

    The longer the queue is against its set-point, the later; spread widely, so that those who were refused together
    do not come back together. `dice` gives a number in [0, 1).
    """
    if priority < WORTH_COMING_BACK:
        return None
    low, high = RANGE_S
    pressure = 1.0 + queue_s / target_s if target_s > 0 else 1.0
    return min(LONGEST_S, (low + (high - low) * dice()) * pressure)


# So many different times to come back are given out in turn.
VARIANTS = 16


class Rejection:
    """One refusal and its wire forms, which are made when they are first asked for."""

    def __init__(self, error: Saturated) -> None:
        self._error = error

    @property
    def code(self) -> grpc.StatusCode:
        """The status of a call."""
        return self._error.code

    @property
    def message(self) -> str:
        """What it says to people."""
        return self._error.message

    @property
    def reason(self) -> Reason:
        """What it says to programs."""
        return self._error.reason

    def error(self) -> Saturated:
        """An exception to raise. A new one each time: one that is raised again and again remembers every time."""
        made = type(self._error)(self._error.message, retry_after_s=self._error.retry_after_s)
        made.metadata = self._error.metadata
        return made

    @cached_property
    def trailers(self) -> Trailers:
        """The trailing metadata of a call."""
        return trailers(self._error)

    @cached_property
    def item_status(self) -> inference_pb2.ItemStatus:
        """How a text on a stream ends. To be copied, not changed."""
        return to_item_status(self._error)


class RejectionCache:
    """The refusals of one tick, each with its time to come back. `metadata` says how matters stand."""

    def __init__(self, dice: Callable[[], float]) -> None:
        self._dice = dice
        self._made: dict[tuple[type[Saturated], bool, int], Rejection] = {}
        self._turn = 0
        self._queue_s = 0.0
        self._target_s = 0.0
        self.metadata: dict[str, str] = {}

    def renew(self, *, queue_s: float, target_s: float, theta: float, levels: tuple[Level, ...]) -> None:
        """From now on, refuse with this queue, threshold and levels in mind."""
        self._made.clear()
        self._queue_s, self._target_s = queue_s, target_s
        self.metadata = {"level": ",".join(str(level.value) for level in levels) or "0", "theta": f"{theta:.3f}"}

    def of(self, kind: type[Saturated], priority: float) -> Rejection:
        """A refusal for a request of `priority`, because of the caps (Saturated) or of others (Outranked)."""
        self._turn = (self._turn + 1) % VARIANTS
        key = kind, priority >= WORTH_COMING_BACK, self._turn
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._make(kind, priority)
        return found

    def _make(self, kind: type[Saturated], priority: float) -> Rejection:
        after_s = retry_after_s(priority, queue_s=self._queue_s, target_s=self._target_s, dice=self._dice)
        why = "more important requests take what room there is" if kind is Outranked else "there is no room for more"
        error = kind(f"this router is overloaded, and {why}", retry_after_s=after_s)
        error.metadata = self.metadata
        return Rejection(error)
