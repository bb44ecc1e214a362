"""The hard caps: requests and bytes that are open, and work that waits. The last of each is kept for hot requests.

Hot work waits for hot work only, which it does not overtake; so what cold work waits never shuts it out.
"""

from __future__ import annotations

HOT_RESERVE = 0.1
HOT_WORK_RESERVE = 1 / 3


class Caps:
    """What is open now, and the most that may be. Work is in device-seconds; `most_waiting` infinite is no bound."""

    __slots__ = ("_admit_scale", "_hot", "_max_bytes", "_max_requests", "_waiting", "most_waiting", "requests", "size")

    def __init__(self, *, max_requests: int, max_bytes: int) -> None:
        self.requests = 0
        self.size = 0
        self._waiting = 0.0
        self._hot = 0.0
        self.most_waiting = float("inf")
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._admit_scale = 1.0

    def scale(self, admit_scale: float) -> None:
        """Leave cold requests this share, in [0, 1], of the room that they have otherwise."""
        self._admit_scale = admit_scale

    def has_room(self, size: int, *, hot: bool) -> bool:
        """Whether one more request of `size` bytes may be open. Cold ones have less room."""
        if hot:
            share, waits = 1.0, self._hot <= self.most_waiting
        else:
            share = (1.0 - HOT_RESERVE) * self._admit_scale
            waits = self._waiting <= self.most_waiting * (1.0 - HOT_WORK_RESERVE) * self._admit_scale
        return waits and self.requests < self._max_requests * share and self.size + size <= self._max_bytes * share

    def take(self, size: int, cost: float, *, hot: bool) -> None:
        """A request is open and waits."""
        self.requests += 1
        self.size += size
        self._waiting += cost
        if hot:
            self._hot += cost

    def free(self, size: int) -> None:
        """A request has ended."""
        self.requests -= 1
        self.size -= size

    def worked_off(self, cost: float) -> None:
        """So much of the work that waited does no more. Nobody says whose it was, and hot work goes first."""
        self._waiting -= cost
        self._hot = max(0.0, self._hot - cost)

    def found(self, waiting: float, *, hot_share: float) -> None:
        """So much work waits in truth; `hot_share` of it, in [0, 1], is hot."""
        self._waiting = waiting
        self._hot = waiting * hot_share
