"""When a worker with a free credit takes a batch, and from which queue. Pure; the clock is an argument.

Work is conserved: a device with nothing to do takes what waits at once. Lingering only delays the batch that would
be prefetched behind a running one, because there waiting costs the device nothing and fills the batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.router.queueing.queue import COLD_PLACE, VariantQueue
from services.router.workers.latency_model import LONG_ENOUGH_S

# How fast requests come, over windows long enough to count and short enough to notice a change.


RATE_WINDOW_S = 0.02


class ArrivalRate:
    """Requests per second in the last whole window. The clock is an argument."""

    __slots__ = ("_count", "_per_second", "_started_at")

    def __init__(self) -> None:
        self._count = 0
        self._per_second = 0.0
        self._started_at = 0.0

    def count(self, now: float) -> float:
        """A request came at `now` (seconds, never falling); returns the rate."""
        self._count += 1
        elapsed_s = now - self._started_at
        if elapsed_s >= RATE_WINDOW_S:
            self._per_second = self._count / elapsed_s
            self._count = 0
            self._started_at = now
        return self._per_second


# How many requests are open at a time, seen for long enough that a batch just answered is not missed.


PEAK_WINDOW_S = 0.05


class PeakInFlight:
    """The peak of the open requests in this window and the one before. The clock is an argument."""

    __slots__ = ("_last_peak", "_peak", "_started_at")

    def __init__(self) -> None:
        self._peak = 0
        self._last_peak = 0
        self._started_at = 0.0

    def count(self, open_requests: int, now: float) -> int:
        """So many are open at `now` (seconds, never falling); returns the peak."""
        elapsed_s = now - self._started_at
        if elapsed_s >= PEAK_WINDOW_S:
            # After a pause longer than a window nobody is left of the crowd before it.
            self._last_peak = self._peak if elapsed_s < 2 * PEAK_WINDOW_S else 0
            self._peak = 0
            self._started_at = now
        self._peak = max(self._peak, open_requests)
        return max(self._peak, self._last_peak)


MIN_ARRIVALS = 2
MIN_IN_FLIGHT = 16
# So long after the last hot request, none is expected; and so long a batch may be then, at most this share of the time
# that its most urgent request has left.
HOT_EXPECTED_S = 10.0
PATIENT_S = 1.0
SHARE_OF_SLACK = 0.1


@dataclass(frozen=True, slots=True)
class QueueChoice:
    """The queue to serve now, or None and when to look again (seconds; infinity: when something changes)."""

    queue: VariantQueue | None
    look_again_at: float = float("inf")


def choose_queue(
    queues: Iterable[VariantQueue],
    *,
    idle: bool,
    max_items: int,
    batch_timeout_s: float,
    ages: bool,
    now: float,
    writes: bool = False,
) -> QueueChoice:
    """Pick for a worker that has a credit left: hot before cold, then the earliest deadline.

    `idle` says that the worker has no batch, `writes` that it has texts, beside which no suspect is tried; `max_items`
    is the most it takes in one. When cold work `ages`, a queue of it that was passed over fifteen times for others' hot
    work has its turn.
    """
    best: VariantQueue | None = None
    best_head: tuple[bool, float] = (True, float("inf"))
    look_again_at = float("inf")
    for queue in queues:
        if queue.suspects and not idle and not writes:
            # A suspect travels alone, on a worker that has nothing else: let this one run dry.
            return QueueChoice(None)
        head = queue.head(suspects=not writes)
        if head is None:
            continue
        ready_at = may_dispatch_at(queue, idle=idle, max_items=max_items, batch_timeout_s=batch_timeout_s)
        if ready_at > now:
            look_again_at = min(look_again_at, ready_at)
            continue
        if ages and queue.skips >= COLD_PLACE - 1:
            return QueueChoice(queue)
        if best is None or head < best_head:
            best, best_head = queue, head
    return QueueChoice(best, look_again_at)


def count_skips(queues: Iterable[VariantQueue], chosen: VariantQueue) -> None:
    """A batch is taken from `chosen`: remember which other queues had to stand back with cold work."""
    for queue in queues:
        if queue is chosen or not len(queue):
            queue.skips = 0
        elif chosen.hot.items and not queue.hot.items:
            queue.skips += 1


def may_dispatch_at(queue: VariantQueue, *, idle: bool, max_items: int, batch_timeout_s: float) -> float:
    """The instant from which the queue's head may be dispatched; minus infinity: at once."""
    if idle or queue.hot.items or len(queue) >= max_items:
        return float("-inf")
    return queue.oldest_cold_at() + batch_timeout_s


def max_batch_s(*, slack_s: float, since_hot_s: float) -> float:
    """How long a batch may be for the device's good, when its most urgent request has `slack_s` left.

    Larger batches waste less of a device, and whoever comes next waits for them. While hot work comes (the last of it
    `since_hot_s` ago), or somebody is in a hurry, a tenth of a second is long enough.
    """
    if since_hot_s < HOT_EXPECTED_S:
        return LONG_ENOUGH_S
    return min(PATIENT_S, max(LONG_ENOUGH_S, SHARE_OF_SLACK * slack_s))


def should_wait_for_batch(arrivals_per_s: float, crowd: int, gather_s: float) -> bool:
    """Whether waiting `gather_s` for company brings some: two requests at the present rate, of a `crowd` that is open.

    Callers who each wait for an answer send nothing until they have it, so a few of them would wait for a company that
    cannot come. With a crowd open, the wait is small beside what each request takes already (Little, 1961).
    """
    return crowd >= MIN_IN_FLIGHT and arrivals_per_s * gather_s >= MIN_ARRIVALS
