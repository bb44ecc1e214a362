"""One resource, workers that serve the same variants, and the law that guards it.

What waits for it, measured in the time that it would take, is held near a set-point by refusing the least important of
what is offered to it (see `limiter`). Batches and generations of the same workers are two resources: each waits for
credits of its own kind, and what one takes of the device shows in the other's measured capacity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from services.router.admission.demand import Demand
from services.router.admission.fair_share import FairShare
from services.router.admission.hard_limits import NOT_KNOWN, Queued, WaitingLimit
from services.router.admission.limiter import QueueDelayLimiter, ThroughputEstimator
from services.router.admission.load_signals import LoadSignals
from services.router.admission.priority_histogram import BINS, PriorityHistogram
from services.router.admission.rejection import RejectionCache
from sluice.domain.errors import Outranked, Saturated

TICK_S = 0.1
MIN_TARGET_S = 0.02
# A queue this long leaves a request of the median time limit three quarters of it.
TARGET_OF_TIMEOUT = 0.25
# And a burst that costs it no more than this is no overload, unless it is this long.
PATIENCE_OF_TIMEOUT = 0.15
MAX_PATIENCE_S = 10.0
MIN_SCALE = 0.1
# More work than that of half the median time limit never waits, nor more than this.
WAIT_OF_TIMEOUT = 0.5
MAX_WAIT_S = 60.0
OFFERED_WINDOWS = 2
# The fastest that a queue is believed to grow, in seconds of work a second, while the capacity is not known.
GROWTH = 3.0
# What is left after a tick of a batch's time when no batch waits to tell it.
_FADING = 0.95
UNKNOWN_COST = 1e-3

CallerWaits = Callable[["Resource", str, bool], Queued]
"""What a caller has waiting for a resource, hot or not."""


@dataclass(slots=True)
class Waiting:
    """Device-seconds of work that wait, the hot part of them, and the time of a usual batch, 0 if nobody can tell."""

    cost_s: float = 0.0
    hot_s: float = 0.0
    batch_s: float = 0.0

    def add(self, other: Waiting, share: float) -> None:
        """Add `share` of what waits elsewhere too."""
        self.cost_s += other.cost_s * share
        self.hot_s += other.hot_s * share
        self.batch_s = max(self.batch_s, other.batch_s)


class Resource:
    """`variants` are served by `workers`, with others or alone. Costs are device-seconds; clocks are arguments.

    `adaptive` False refuses nothing. `queue_target_s` None: the longer of 20 ms and one batch.
    """

    def __init__(self, *, adaptive: bool, queue_target_s: float | None, dice: Callable[[], float]) -> None:
        self.generates = False
        self.workers: frozenset[str] = frozenset()
        self.variants: tuple[str, ...] = ()
        self.signals = LoadSignals()
        self.refusals = RejectionCache(dice)
        self.queue_s = 0.0
        self.target_s = queue_target_s or MIN_TARGET_S
        self.boundary = -1
        self.typical_cost = UNKNOWN_COST
        self._adaptive = adaptive
        self._fixed_target_s = queue_target_s
        self._waiting = WaitingLimit()
        self._histogram = PriorityHistogram()
        self._capacity = ThroughputEstimator()
        self._limiter = QueueDelayLimiter()
        self._fair = FairShare()
        self._patience_s = self.target_s
        self._batch_s = 0.0
        self._nonempty_s = 0.0
        self._costs = [0, 0.0]

    @property
    def theta(self) -> float:
        """The priority below which cold requests are refused, in [0, 1]; 0 while nothing is."""
        return max(0, self.boundary) / BINS

    @property
    def capacity_per_s(self) -> float | None:
        """Device-seconds of work a second that the workers can do; None until they have been seen at their limit."""
        return self._capacity.per_s

    @property
    def is_relaxed(self) -> bool:
        """Whether nobody is refused, whoever it is: what to ask before looking at a request at all."""
        return self.boundary < 0 and self._waiting.waiting <= self._waiting.roomy

    def refuses(self, demand: Demand, bin_: int, now: float, waits: CallerWaits) -> type[Saturated] | None:
        """Why a request is not let in here, or None. Nothing is counted, and it may be asked repeatedly."""
        boundary, hot = self.boundary, demand.hot
        if not hot and bin_ <= boundary:
            if bin_ < boundary:
                return Outranked
            caller = demand.caller.id
            if not self._fair.lets_in(bin_, caller, now, conversation=demand.conversation_id, bundle=demand.bundle):
                return Outranked
        if self._waiting.is_roomy:
            return None
        name = demand.caller.id
        queued = waits(self, name, hot) if name else NOT_KNOWN
        return None if self._waiting.has_room(queued, self.typical_cost, hot=hot) else Saturated

    def count(self, demand: Demand, bin_: int, cost: float | None, *, let_in: bool) -> None:
        """Requests were offered here; `cost` None is not known. `let_in` False: they were refused for others."""
        if cost is None:
            cost = self.typical_cost * demand.texts
        else:
            costs = self._costs
            costs[0] += 1
            costs[1] += cost
        self._histogram.add(bin_, cost)
        if not demand.hot:
            self._fair.count(bin_, demand.caller.id, cost, demand.texts)
            if bin_ == self.boundary:
                self._fair.settle(bin_, demand.caller.id, let_in=let_in, requests=demand.texts)

    def let_in(self, demand: Demand, bin_: int, cost: float, timeout_s: float | None) -> None:
        """A request was offered, let in, and waits here, for `timeout_s` at the longest if that is known."""
        self.count(demand, bin_, cost, let_in=True)
        self._waiting.take(cost, hot=demand.hot)
        if timeout_s is not None:
            self.signals.came_with(timeout_s)

    def served(self, cost: float) -> None:
        """So much work was done."""
        if 0.0 < cost < inf:
            self._capacity.add(cost)
            self._waiting.worked_off(cost)

    def skip(self, waiting: Waiting) -> None:
        """Nobody has looked for longer than means anything: forget what was counted meanwhile."""
        self._look(waiting)
        self._histogram.clear()
        self._capacity.skip()

    def tick(self, elapsed_s: float, *, admit_scale: float, waiting: Waiting, lag_s: float) -> None:
        """Look at the queue, `elapsed_s` after the last look.

        `admit_scale`, in [0, 1], is what level 3 leaves of the set-point; `lag_s` how late the event loop itself is.
        """
        scale = max(MIN_SCALE, admit_scale)
        backlog_s = self._look(waiting)
        if self._costs[0]:
            self.typical_cost = self._costs[1] / self._costs[0]
            self._costs = [0, 0.0]
        self._measure(elapsed_s, backlog_s, lag_s)
        self._aim(scale)
        if self._adaptive:
            self._decide(elapsed_s)
            self._bound(scale)

    def _look(self, waiting: Waiting) -> float:
        backlog_s = waiting.cost_s if 0.0 <= waiting.cost_s < inf else 0.0
        batch_s = waiting.batch_s if 0.0 <= waiting.batch_s < inf else 0.0
        self._batch_s = max(batch_s, _FADING * self._batch_s)
        hot_share = waiting.hot_s / backlog_s if backlog_s else 0.0
        self._waiting.found(backlog_s, hot_share=hot_share if 0.0 <= hot_share <= 1.0 else 1.0)
        return backlog_s

    def _aim(self, scale: float) -> None:
        target_s = self._fixed_target_s or max(MIN_TARGET_S, self._batch_s)
        timeout_s = self.signals.median_timeout_s
        if timeout_s is not None and self._fixed_target_s is None:
            target_s = max(MIN_TARGET_S, min(target_s, TARGET_OF_TIMEOUT * timeout_s))
        patience_s = max(target_s, min(MAX_PATIENCE_S, PATIENCE_OF_TIMEOUT * (timeout_s or 0.0)))
        self.target_s = target_s * scale
        self._patience_s = patience_s * scale

    def _measure(self, elapsed_s: float, backlog_s: float, lag_s: float) -> None:
        capacity, before_s = self._capacity, self.queue_s
        capacity.roll(elapsed_s, batch_s=self._batch_s)
        self._nonempty_s = self._nonempty_s + elapsed_s if backlog_s > 0 else 0.0
        is_acting, known_per_s = self._limiter.acting, capacity.per_s
        # Whether there is an overload at all is judged in the workers' favour; how large it is, by what is known.
        reference = known_per_s if known_per_s is not None and is_acting else capacity.at_least_per_s
        queue_s = backlog_s / reference if reference > 0 else 0.0
        if known_per_s is None:
            # A few requests after a quiet time say little about speed; but no queue is longer than it can have grown.
            grown = 1.0 if self._nonempty_s <= 1.5 * TICK_S else GROWTH
            queue_s = min(queue_s, grown * self._nonempty_s)
        self.queue_s = queue_s + lag_s
        stood = min(before_s, self.queue_s) >= self.target_s / 2
        capacity.learn(elapsed_s, stood=stood and (is_acting or known_per_s is not None))
        self._histogram.roll(elapsed_s)
        self.signals.roll(self.queue_s)

    def _decide(self, elapsed_s: float) -> None:
        capacity_per_s = self._capacity.per_s or self._capacity.at_least_per_s
        offered_per_s = self._histogram.offered_per_s(OFFERED_WINDOWS)
        self._limiter.tick(
            elapsed_s=elapsed_s,
            queue_s=self.queue_s,
            target_s=self.target_s,
            patience_s=self._patience_s,
            capacity_per_s=capacity_per_s,
            offered_per_s=offered_per_s,
        )
        share, guaranteed = self._limiter.share, 1.0
        self.boundary, part = self._histogram.boundary(share) if share < 1.0 else (-1, 1.0)
        if self.boundary >= 0 and offered_per_s > capacity_per_s:
            reached, of_it = self._histogram.boundary(capacity_per_s / offered_per_s)
            guaranteed = of_it if reached == self.boundary else 1.0
        self._fair.roll(elapsed_s, boundary=self.boundary, share=part, guaranteed=guaranteed)

    def _bound(self, scale: float) -> None:
        most = self._waiting.most
        if self._capacity.per_s is not None:
            timeout_s = self.signals.median_timeout_s
            wait_s = MAX_WAIT_S if timeout_s is None else min(MAX_WAIT_S, WAIT_OF_TIMEOUT * timeout_s)
            most = self._capacity.per_s * max(wait_s, 2 * self.target_s)
        self._waiting.bound(most, admit_scale=scale)
