"""Admission: whether a request is let in. Always on, and asked before any other cost is paid.

An adaptive limit refuses the least important as soon as a queue stands longer than it should; hard caps bound the rest.
Hot requests meet the caps only.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from math import inf

from services.router.admission.fair_share import FairShare
from services.router.admission.hard_limits import Caps
from services.router.admission.limiter import CapacityEstimate, Limiter
from services.router.admission.load_signals import RouterSignals
from services.router.admission.priority_histogram import BINS, PriorityHistogram, bin_of
from services.router.admission.rejection import Refusal, Refusals
from sluice.errors import Outranked, Saturated, SluiceError
from sluice.tier import Level

TICK_S = 0.1
# Timers come a little late on any machine that has something to do.
SLACK_S = 0.02
# One look that is later than this followed a pause of the whole process, not an overload.
LONGEST_S = 1.0


class Ticks:
    """Fed with instants of a monotonic clock, in seconds."""

    __slots__ = ("_at", "_late_s", "lag_s")

    def __init__(self) -> None:
        self.lag_s = 0.0
        self._at: float | None = None
        self._late_s = 0.0

    def tick(self, now: float) -> float | None:
        """Seconds since the last look, or None when what was counted meanwhile says nothing.

        That is so at first, when the clock went back, and after a pause. Whoever is late again and again is not paused
        but overloaded. `lag_s` is by how much the last two looks were late at least: so long does everything stand in
        the event loop's own queue.
        """
        before, self._at = self._at, now
        if before is None or now <= before:
            self.lag_s = self._late_s = 0.0
            return None
        elapsed_s = now - before
        late_s, was_late_s = max(0.0, elapsed_s - TICK_S - SLACK_S), self._late_s
        self._late_s = late_s
        self.lag_s = min(late_s, was_late_s)
        return None if elapsed_s > LONGEST_S >= was_late_s + TICK_S + SLACK_S else elapsed_s


LEAST_TARGET_S = 0.02
# A queue this long leaves a request of the median time limit three quarters of it.
TARGET_OF_TIMEOUT = 0.25
# And a burst that costs it no more than this is no overload, unless it is this long.
PATIENCE_OF_TIMEOUT = 0.15
LONGEST_PATIENCE_S = 10.0
LEAST_SCALE = 0.1
# More work than that of half the median time limit never waits, nor more than this.
WAIT_OF_TIMEOUT = 0.5
LONGEST_WAIT_S = 60.0
OFFERED_WINDOWS = 2
# The fastest that a queue is believed to grow, in seconds of work a second, while the capacity is not known.
GROWTH = 3.0
# What is left after a tick of a batch's time when no batch waits to tell it.
_FADING = 0.95
UNKNOWN_COST = 1e-3


class Admission:
    """Every `admit` that returns is followed by exactly one `release` of the same size.

    `adaptive` False leaves the caps on requests and bytes alone. `queue_target_s` None: the longer of 20 ms and one
    batch. Costs are device-seconds of the cheapest acceptable variant; clocks are arguments, in seconds.
    """

    def __init__(
        self,
        *,
        max_requests: int,
        max_bytes: int,
        adaptive: bool = True,
        queue_target_s: float | None = None,
        levels: Callable[[], tuple[Level, ...]] = tuple,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self.signals = RouterSignals()
        self.queue_s = 0.0
        self.target_s = queue_target_s or LEAST_TARGET_S
        self._adaptive = adaptive
        self._fixed_target_s = queue_target_s
        self._levels = levels
        self._caps = Caps(max_requests=max_requests, max_bytes=max_bytes)
        self._histogram = PriorityHistogram()
        self._capacity = CapacityEstimate()
        self._limiter = Limiter()
        self._fair = FairShare()
        self._refusals = Refusals(dice)
        self._patience_s = self.target_s
        self._boundary = -1
        self._batch_s = 0.0
        self._nonempty_s = 0.0
        self._ticks = Ticks()
        self._costs = [0, 0.0]
        self._typical_cost = UNKNOWN_COST
        self._renew()

    @property
    def requests(self) -> int:
        """Requests that are open."""
        return self._caps.requests

    @property
    def size(self) -> int:
        """Bytes of text that are open."""
        return self._caps.size

    @property
    def theta(self) -> float:
        """The priority below which cold requests are refused, in [0, 1]; 0 while nothing is."""
        return max(0, self._boundary) / BINS

    @property
    def capacity_per_s(self) -> float | None:
        """Device-seconds of work a second that the workers can do; None until they have been seen at their limit."""
        return self._capacity.per_s

    @property
    def is_shedding(self) -> bool:
        """Whether a request may be refused now: what to ask before looking at one at all."""
        return self._boundary >= 0 or not self._caps.has_room(0, hot=False)

    def admit(self, size: int, *, priority: float, hot: bool, client: str, cost: float, now: float) -> None:
        """Let in a text of `size` bytes, or raise Saturated, or Outranked when it is for more important ones.

        `priority` lies in [0, 1]; `client` is whose fair share the request is of, empty when nobody knows.
        """
        if not 0.0 < cost < inf:
            cost = self._typical_cost
        self._costs[0] += 1
        self._costs[1] += cost
        bin_ = bin_of(priority)
        kind = self._why_not(size, bin_, hot, client, now)
        self._count(bin_, hot, client, cost, let_in=kind is not Outranked)
        if kind is not None:
            self.signals.refused()
            raise self._refusals.of(kind, priority).error()
        self._caps.take(size, cost, hot=hot)

    def turn_away(self, *, priority: float, hot: bool, client: str, now: float, texts: int = 1) -> Refusal | None:
        """The refusal of `texts` that come together and that `admit` would refuse, before more is known of them.

        None, and nothing is counted, if they may go on to `admit`.
        """
        bin_ = bin_of(priority)
        kind = self._why_not(0, bin_, hot, client, now)
        if kind is None:
            return None
        self._count(bin_, hot, client, self._typical_cost * texts, let_in=kind is not Outranked, texts=texts)
        self.signals.refused(texts)
        return self._refusals.of(kind, priority)

    def release(self, size: int) -> None:
        """A request that was let in has ended."""
        self._caps.free(size)

    def withdraw(self, size: int, cost: float, why: SluiceError) -> None:
        """A request that was let in never came to wait, for the reason `why`, which is told how matters stand."""
        self._caps.free(size)
        self._caps.worked_off(cost)
        if isinstance(why, Saturated):
            self.signals.refused()
            why.metadata = self._refusals.metadata

    def served(self, cost: float, queue_s: float, now: float) -> None:
        """A request of `cost` was answered, after `queue_s` in the queue."""
        del queue_s, now
        if 0.0 < cost < inf:
            self._capacity.add(cost)
            self._caps.worked_off(cost)

    def tick(
        self, now: float, *, admit_scale: float, backlog_cost: float, hot_share: float = 1.0, batch_s: float = 0.0
    ) -> None:
        """Look at the queue, in which work of `backlog_cost` waits; to be called every 100 ms.

        `admit_scale`, in [0, 1], is what level 3 leaves of the set-point; `hot_share`, in [0, 1], how much of what
        waits is hot; `batch_s` the time of a usual batch, 0 when nobody can tell.
        """
        scale = admit_scale if 0.0 <= admit_scale <= 1.0 else 1.0
        backlog_cost = backlog_cost if 0.0 <= backlog_cost < inf else 0.0
        self._batch_s = max(batch_s if 0.0 <= batch_s < inf else 0.0, _FADING * self._batch_s)
        self._caps.found(backlog_cost, hot_share=hot_share if 0.0 <= hot_share <= 1.0 else 1.0)
        elapsed_s = self._ticks.tick(now)
        if elapsed_s is None:
            self._histogram.clear()
            self._capacity.skip()
            return
        if self._costs[0]:
            self._typical_cost = self._costs[1] / self._costs[0]
            self._costs = [0, 0.0]
        self._measure(elapsed_s, backlog_cost)
        self._aim(scale)
        if self._adaptive:
            self._decide(elapsed_s)
            self._bound(scale)
        self._renew()

    def _why_not(self, size: int, bin_: int, hot: bool, client: str, now: float) -> type[Saturated] | None:
        boundary = self._boundary
        if not hot and (bin_ < boundary or (bin_ == boundary and not self._fair.lets_in(bin_, client, now))):
            return Outranked
        return None if self._caps.has_room(size, hot=hot) else Saturated

    def _count(self, bin_: int, hot: bool, client: str, cost: float, *, let_in: bool, texts: int = 1) -> None:
        self.signals.offered(texts)
        self._histogram.add(bin_, cost)
        if not hot:
            self._fair.count(bin_, client, cost)
            if bin_ == self._boundary:
                self._fair.settle(bin_, client, let_in=let_in)

    def _aim(self, scale: float) -> None:
        target_s = self._fixed_target_s or max(LEAST_TARGET_S, self._batch_s)
        timeout_s = self.signals.median_timeout_s
        if timeout_s is not None and self._fixed_target_s is None:
            target_s = max(LEAST_TARGET_S, min(target_s, TARGET_OF_TIMEOUT * timeout_s))
        patience_s = max(target_s, min(LONGEST_PATIENCE_S, PATIENCE_OF_TIMEOUT * (timeout_s or 0.0)))
        self.target_s = target_s * max(LEAST_SCALE, scale)
        self._patience_s = patience_s * max(LEAST_SCALE, scale)

    def _measure(self, elapsed_s: float, backlog_cost: float) -> None:
        capacity, before_s = self._capacity, self.queue_s
        capacity.roll(elapsed_s, batch_s=self._batch_s)
        self._nonempty_s = self._nonempty_s + elapsed_s if backlog_cost > 0 else 0.0
        is_acting, known_per_s = self._limiter.acting, capacity.per_s
        # Whether there is an overload at all is judged in the workers' favour; how large it is, by what is known.
        reference = known_per_s if known_per_s is not None and is_acting else capacity.at_least_per_s
        queue_s = backlog_cost / reference if reference > 0 else 0.0
        if known_per_s is None:
            # A few requests after a quiet time say little about speed; but no queue is longer than it can have grown.
            grown = 1.0 if self._nonempty_s <= 1.5 * TICK_S else GROWTH
            queue_s = min(queue_s, grown * self._nonempty_s)
        self.queue_s = queue_s + self._ticks.lag_s
        stood = min(before_s, self.queue_s) >= self.target_s / 2
        capacity.learn(elapsed_s, stood=stood and (is_acting or known_per_s is not None))
        self._histogram.roll(elapsed_s)
        self.signals.roll(self.queue_s)

    def _decide(self, elapsed_s: float) -> None:
        self._limiter.tick(
            elapsed_s=elapsed_s,
            queue_s=self.queue_s,
            target_s=self.target_s,
            patience_s=self._patience_s,
            capacity_per_s=self._capacity.per_s or self._capacity.at_least_per_s,
            offered_per_s=self._histogram.offered_per_s(OFFERED_WINDOWS),
        )
        share = self._limiter.share
        self._boundary, part = self._histogram.boundary(share) if share < 1.0 else (-1, 1.0)
        self._fair.roll(elapsed_s, boundary=self._boundary, share=part)

    def _bound(self, scale: float) -> None:
        self._caps.scale(max(LEAST_SCALE, scale))
        if self._capacity.per_s is not None:
            timeout_s = self.signals.median_timeout_s
            wait_s = LONGEST_WAIT_S if timeout_s is None else min(LONGEST_WAIT_S, WAIT_OF_TIMEOUT * timeout_s)
            self._caps.most_waiting = self._capacity.per_s * max(wait_s, 2 * self.target_s)

    def _renew(self) -> None:
        self._refusals.renew(queue_s=self.queue_s, target_s=self.target_s, theta=self.theta, levels=self._levels())
