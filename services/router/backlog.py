"""What waits in one class of a queue, by deadline, so that a newcomer learns how much stands before it."""

from __future__ import annotations

BUCKET_S = 0.25
MOST_BUCKETS = 48


class Backlog:
    """Counts of items and tokens in buckets of a quarter of a second of deadline."""

    __slots__ = ("_buckets", "items", "tokens")

    def __init__(self) -> None:
        self._buckets: dict[int, list[int]] = {}
        self.items = 0
        self.tokens = 0

    def add(self, deadline: float, tokens: int) -> None:
        """A request of `tokens` waits until `deadline` (seconds)."""
        self.items += 1
        self.tokens += tokens
        number = int(deadline / BUCKET_S)
        bucket = self._buckets.get(number)
        if bucket is None:
            self._buckets[number] = [1, tokens]
        else:
            bucket[0] += 1
            bucket[1] += tokens

    def remove(self, deadline: float, tokens: int) -> None:
        """A request that was added waits no more."""
        self.items -= 1
        self.tokens -= tokens
        number = int(deadline / BUCKET_S)
        bucket = self._buckets[number]
        bucket[0] -= 1
        bucket[1] -= tokens
        if not bucket[0]:
            del self._buckets[number]

    def ahead_of(self, deadline: float) -> int:
        """Tokens that are served before a newcomer with `deadline`: those whose deadline is not later.

        Never less than that; everything, when deadlines are so scattered that looking would cost more than it tells.
        """
        if not self.items or len(self._buckets) > MOST_BUCKETS:
            return self.tokens
        last = int(deadline / BUCKET_S)
        return sum(bucket[1] for number, bucket in self._buckets.items() if number <= last)
