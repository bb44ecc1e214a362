"""Admission: whether a request is let in. Always on, and asked before any other cost is paid.

A request is judged by what it would use: it is let in if any resource that could serve it has room, and is then placed
only there. Each resource has its own adaptive limit, by the same law; hard limits bound all together. Hot requests meet
the hard limits only.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping
from math import inf

from services.router.admission.demand import Demand
from services.router.admission.hard_limits import NOT_KNOWN, HardLimits, Queued
from services.router.admission.load_signals import RouterSignals
from services.router.admission.priority_histogram import bin_of
from services.router.admission.rejection import Rejection, RejectionCache
from services.router.admission.resource import MIN_SCALE, TICK_S, UNKNOWN_COST, Resource, Waiting
from services.router.admission.resource_map import ResourceMap, Route, WorkerGroup
from sluice.domain.enums import Level
from sluice.domain.errors import InvalidRequest, Outranked, Saturated, SluiceError

# Timers come a little late on any machine that has something to do.
SLACK_S = 0.02
# One look that is later than this followed a pause of the whole process, not an overload.
MAX_PAUSE_S = 1.0
NOTHING: frozenset[str] = frozenset()
NO_DEFAULTS: Mapping[bool, str] = {}

CallerQueued = Callable[[str, str, bool], Queued]
"""What a caller has waiting for a variant, hot or not."""


class TickClock:
    """The passing of time between looks that should come every tenth of a second. Fed with a monotonic clock."""

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
        return None if elapsed_s > MAX_PAUSE_S >= was_late_s + TICK_S + SLACK_S else elapsed_s


class AdmissionController:
    """Every `admit` that returns is followed by one `placed` or `withdraw`, and after `placed` by one `release`.

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
        queued: CallerQueued | None = None,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self.signals = RouterSignals()
        self._map = ResourceMap(lambda: Resource(adaptive=adaptive, queue_target_s=queue_target_s, dice=dice))
        self._levels = levels
        self._queued = queued or _nothing_queued
        self._limits = HardLimits(max_requests=max_requests, max_bytes=max_bytes)
        self._refusals = RejectionCache(dice)
        self._ticks = TickClock()
        self._renew()

    @property
    def requests(self) -> int:
        """Requests that are open."""
        return self._limits.requests

    @property
    def size(self) -> int:
        """Bytes of text that are open."""
        return self._limits.size

    @property
    def resources(self) -> tuple[Resource, ...]:
        """The groups of workers, each with its law."""
        return self._map.resources

    @property
    def theta(self) -> float:
        """The priority below which the strictest resource refuses cold requests, in [0, 1]; 0 while none does."""
        return max((one.theta for one in self.resources), default=0.0)

    @property
    def is_shedding(self) -> bool:
        """Whether a request may be refused now: what to ask before looking at one at all."""
        if not self._limits.is_roomy():
            return True
        for one in self._map.resources:  # noqa: SIM110  asked for each request, and three times as fast as any()
            if not one.is_relaxed:
                return True
        return False

    def regroup(self, groups: Iterable[WorkerGroup], *, defaults: Mapping[bool, str] = NO_DEFAULTS) -> None:
        """Workers came, went or hold other variants. `defaults` are the models of requests that name none."""
        self._map.update(groups, defaults=defaults)
        self._limits.several_models = self._map.models > 1
        self._renew()

    def admit(self, demand: Demand, *, size: int, cost: float, now: float) -> frozenset[str]:
        """Let in a request of `size` bytes and `cost`; returns the variants for which it is not let in.

        Raises Saturated, or Outranked when everything that could serve it is for more important ones.
        """
        self.signals.offered()
        route = self._map.route(demand)
        if self._limits.is_roomy(size) and route.is_relaxed:
            self._limits.take(size, caller=demand.caller.id, model=demand.model)
            return NOTHING
        refused, kind = self._judge(demand, size, route, now)
        if kind is not None:
            self._count(demand, refused, _known(cost), kind)
            self.signals.refused()
            raise self._refusal(demand, refused, kind).error()
        self._limits.take(size, caller=demand.caller.id, model=demand.model)
        if not refused:
            return NOTHING
        self._count(demand, refused, _known(cost), Outranked)
        return frozenset(name for name, held in route.variants if all(one in refused for one in held))

    def reject_early(self, demand: Demand, *, now: float) -> Rejection | None:
        """The refusal of texts that come together and that `admit` would refuse, before more is known of them.

        None, and nothing is counted, if they may go on to `admit`.
        """
        refused, kind = self._judge(demand, 0, self._map.route(demand), now)
        if kind is None:
            return None
        self._count(demand, refused, None, kind)
        self.signals.offered(demand.texts)
        self.signals.refused(demand.texts)
        return self._refusal(demand, refused, kind)

    def placed(self, demand: Demand, variant_id: str, *, cost: float, timeout_s: float | None) -> None:
        """A request that was let in waits for a variant, for `timeout_s` at the longest; None: nobody knows."""
        bin_ = bin_of(demand.priority)
        for resource, share in self._map.shares(variant_id):
            known = cost * share if 0.0 < cost < inf else resource.typical_cost * share
            resource.let_in(demand, bin_, known, timeout_s)

    def withdraw(self, demand: Demand, closed: Collection[str], why: SluiceError, *, size: int, cost: float,
                 timeout_s: float) -> SluiceError:  # fmt: skip
        """A request that was let in found no place outside of `closed`, for the reason `why`; returns what to tell it.

        Where anything was closed to it, that is the reason, unless there is something wrong with the request.
        """
        self._limits.free(size, caller=demand.caller.id, model=demand.model)
        if isinstance(why, InvalidRequest):
            return why
        route = self._map.route(demand)
        asked = [one for one in route.resources if not closed or any(name not in closed for name in one.variants)]
        for resource in asked if closed or isinstance(why, Saturated) else ():
            resource.count(demand, bin_of(demand.priority), (_known(cost) or UNKNOWN_COST) / len(asked), let_in=True)
            resource.signals.came_with(timeout_s)
        if closed:
            self.signals.refused()
            refused = [one for one in route.resources if any(name in closed for name in one.variants)]
            return self._refusal(demand, refused, Outranked).error()
        if isinstance(why, Saturated):
            self.signals.refused()
            why.metadata = self._refusals.metadata
        return why

    def release(self, size: int, *, caller: str, model: str) -> int:
        """A request that was let in has ended. Returns how many are open still."""
        limits = self._limits
        limits.free(size, caller=caller, model=model)
        return limits.requests

    def served(self, variant_id: str, cost: float, queue_s: float | None = None, *, requests: int = 1) -> None:
        """Requests of `cost` in all were answered with a variant, after `queue_s` in its queue if that is known."""
        for resource, share in self._map.shares(variant_id):
            resource.served(cost * share)
            if queue_s is not None:
                resource.signals.waited(queue_s, requests)

    def generated(self, worker: str, cost: float) -> None:
        """A worker spent so much time on generations."""
        resource = self._map.of_worker(worker, generates=True)
        if resource is not None:
            resource.served(cost)

    def waited(self, variant_id: str, queue_s: float) -> None:
        """What is begun to be generated with a variant had waited so long."""
        for resource, _ in self._map.shares(variant_id):
            resource.signals.waited(queue_s)

    def tick(self, now: float, *, admit_scale: float, waiting: Mapping[str, Waiting]) -> None:
        """Look at the queues, in which work is `waiting` by variant; to be called every 100 ms.

        `admit_scale`, in [0, 1], is what level 3 leaves of the set-points.
        """
        scale = admit_scale if 0.0 <= admit_scale <= 1.0 else 1.0
        elapsed_s = self._ticks.tick(now)
        for resource in self._map.resources:
            own = self._waiting_for(resource, waiting)
            if elapsed_s is None:
                resource.skip(own)
            else:
                resource.tick(elapsed_s, admit_scale=scale, waiting=own, lag_s=self._ticks.lag_s)
        if elapsed_s is None:
            return
        self._limits.scale(max(MIN_SCALE, scale))
        self.signals.roll(one.signals for one in self._map.resources)
        self._renew()

    def _judge(
        self, demand: Demand, size: int, route: Route, now: float
    ) -> tuple[list[Resource], type[Saturated] | None]:
        """The resources that do not take the request, and why nobody does, or None."""
        limits = self._limits
        if not limits.has_room(size, hot=demand.hot, caller=demand.caller.id, model=demand.model):
            return list(route.resources), Saturated
        if route.is_relaxed:
            return [], None
        bin_ = bin_of(demand.priority)
        found = [(one, one.refuses(demand, bin_, now, self._caller_waits)) for one in route.resources]
        refused = [one for one, kind in found if kind is not None]
        if len(refused) < len(found):
            return refused, None
        return refused, Outranked if any(kind is Outranked for _, kind in found) else Saturated

    def _count(self, demand: Demand, resources: Iterable[Resource], cost: float | None, kind: type[Saturated]) -> None:
        bin_ = bin_of(demand.priority)
        for resource in resources:
            resource.count(demand, bin_, cost, let_in=kind is not Outranked)

    def _refusal(self, demand: Demand, refused: Iterable[Resource], kind: type[Saturated]) -> Rejection:
        """The refusal of the resource that is nearest to letting it in."""
        nearest = min(refused, key=lambda one: (one.boundary, one.queue_s), default=None)
        return (nearest.refusals if nearest is not None else self._refusals).of(kind, demand.priority)

    def _caller_waits(self, resource: Resource, caller: str, hot: bool) -> Queued:
        held = [self._queued(name, caller, hot) for name in resource.variants]
        return Queued(sum(one.own_s for one in held), sum(one.callers for one in held))

    def _waiting_for(self, resource: Resource, waiting: Mapping[str, Waiting]) -> Waiting:
        own = Waiting()
        for name in resource.variants:
            found = waiting.get(name)
            if found is not None:
                share = next(part for one, part in self._map.shares(name) if one is resource)
                own.add(found, share)
        return own

    def _renew(self) -> None:
        levels = self._levels()
        for one in self._map.resources:
            one.refusals.renew(queue_s=one.queue_s, target_s=one.target_s, theta=one.theta, levels=levels)
        worst = max(self._map.resources, key=lambda one: one.queue_s / one.target_s, default=None)
        queue_s, target_s = (worst.queue_s, worst.target_s) if worst is not None else (0.0, 1.0)
        self._refusals.renew(queue_s=queue_s, target_s=target_s, theta=self.theta, levels=levels)


def _nothing_queued(variant_id: str, caller: str, hot: bool) -> Queued:
    del variant_id, caller, hot
    return NOT_KNOWN


def _known(cost: float) -> float | None:
    return cost if 0.0 < cost < inf else None
