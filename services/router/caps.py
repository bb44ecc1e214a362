"""The hard caps: requests and bytes that are open, and work that waits. The last of each is kept for hot requests."""

from __future__ import annotations

HOT_RESERVE = 0.1
# Of work more is kept: cold work that waits is overtaken, yet it must not shut out a burst of hot work behind it.
HOT_WORK_RESERVE = 1 / 3


class Caps:
    """What is open now, and the most that may be. Work is in device-seconds; `most_waiting` infinite is no bound."""

    __slots__ = ("_admit_scale", "_max_bytes", "_max_requests", "most_waiting", "requests", "size", "waiting")

    def __init__(self, *, max_requests: int, max_bytes: int) -> None:
        self.requests = 0
        self.size = 0
        self.waiting = 0.0
        self.most_waiting = float("inf")
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._admit_scale = 1.0

    def scale(self, admit_scale: float) -> None:
        """Leave cold requests this share, in [0, 1], of the room that they have otherwise."""
        self._admit_scale = admit_scale

    def has_room(self, size: int, *, hot: bool) -> bool:
        """Whether one more request of `size` bytes may be open. Cold ones have less room."""
        share = 1.0 if hot else (1.0 - HOT_RESERVE) * self._admit_scale
        most_waiting = self.most_waiting if hot else self.most_waiting * (1.0 - HOT_WORK_RESERVE) * self._admit_scale
        return (
            self.requests < self._max_requests * share
            and self.size + size <= self._max_bytes * share
            and self.waiting <= most_waiting
        )

    def take(self, size: int, cost: float) -> None:
        """A request is open and waits."""
        self.requests += 1
        self.size += size
        self.waiting += cost

    def free(self, size: int) -> None:
        """A request has ended."""
        self.requests -= 1
        self.size -= size
