"""A model of the router's queue and its workers, driven by an open loop in steps of a millisecond, and seeded.

The discipline is the mesh's own: hot before cold, earliest deadline first, what expires leaves the queue, two batches
a worker, and a worker leaves out what has expired when its batch begins. The admission is the real one.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from services.router.admission.controller import AdmissionController
from services.router.admission.demand import EdgeDemand
from services.router.admission.resource import TICK_S, Waiting
from services.router.requests.caller import Caller
from sluice.domain.errors import Saturated
from tests.unit.router.groups import GROUP, VARIANT

STEP_S = 0.001
CREDITS = 2
HOT_FROM = 0.7
TEXT_BYTES = 60


@dataclass(slots=True)
class Job:
    """One offered request; `attempts` counts the times that its caller asked before."""

    offered_at: float
    timeout_s: float
    deadline: float
    priority: float
    client: str = ""
    attempts: int = 0
    conversation: str = ""

    @property
    def hot(self) -> bool:
        """Whether it is never shed by priority."""
        return self.priority >= HOT_FROM

    @property
    def demand(self) -> EdgeDemand:
        """What it asks of admission."""
        return EdgeDemand(
            priority=self.priority,
            hot=self.hot,
            model=VARIANT.model,
            caller=Caller(self.client),
            conversation_id=self.conversation,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Devices alike: a batch of n takes `batch_s + n * item_s`, over the `speed` of that instant."""

    item_s: float
    batch_s: float = 0.0
    max_batch: int = 1
    devices: int = 1
    speed: Callable[[float], float] = lambda now: 1.0

    def time_s(self, items: int, now: float) -> float:
        """Seconds for a batch of `items` that begins at `now`."""
        return (self.batch_s + items * self.item_s) / max(1e-9, self.speed(now))

    @property
    def per_s(self) -> float:
        """Requests a second at full batches and full speed."""
        return self.devices * self.max_batch / (self.batch_s + self.max_batch * self.item_s)


@dataclass(slots=True)
class Device:
    """What one worker holds; the first batch is being computed if `done_at` says until when."""

    batches: deque[list[Job]] = field(default_factory=deque)
    free_at: float = 0.0
    done_at: float | None = None


@dataclass(slots=True)
class Second:
    """What became of the requests that were offered in one second, by class: True is hot. `done` counts by its end."""

    offered: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    good: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    refused: int = 0
    done: int = 0


Offer = Callable[[float, random.Random], list[Job]]


class QueueModel:
    """Runs `offer` against `workers` behind `admission`; `seconds` and `by_client` hold what came of it.

    A caller who is refused or late asks again up to `retries` times, at once. `served_error` falsifies what the
    admission is told of the work that was done.
    """

    def __init__(
        self,
        workers: Workers,
        offer: Offer,
        *,
        adaptive: bool = True,
        seed: int = 1,
        retries: int = 0,
        served_error: float = 1.0,
    ) -> None:
        self.workers = workers
        self.offer = offer
        self.admission = AdmissionController(
            max_requests=20_000, max_bytes=10**9, adaptive=adaptive, dice=random.Random(seed).random
        )
        self.admission.regroup([GROUP])
        (self.resource,) = self.admission.resources
        self.seconds: list[Second] = []
        self.by_client: dict[str, list[int]] = {}
        self.queue_s: list[float] = []
        self.now = 0.0
        self.skew_s = 0.0
        self._dice = random.Random(seed)
        self._retries = retries
        self._cost = workers.devices / workers.per_s
        self._served_cost = self._cost * served_error
        self._number = 0
        self._queues: tuple[list[tuple[float, int, Job]], list[tuple[float, int, Job]]] = ([], [])
        self._again: list[tuple[float, int, Job]] = []
        self._devices = [Device() for _ in range(workers.devices)]
        self._next_tick_at = 0.0

    def run(self, seconds: float) -> None:
        """Go on for so long."""
        for _ in range(round(seconds / STEP_S)):
            self.now += STEP_S
            while len(self.seconds) <= int(self.now):
                self.seconds.append(Second())
            jobs = self.offer(self.now, self._dice)
            while self._again and self._again[0][0] <= self.now:
                jobs.append(heappop(self._again)[2])
            for job in jobs:
                self._arrive(job)
            self._expire()
            for device in self._devices:
                while self._advance(device):
                    pass
            if self.now >= self._next_tick_at:
                self._tick()

    def offered(self, first: int, last: int) -> int:
        """Requests offered in seconds `first` to `last`, the last not included, as in all that follows."""
        return sum(sum(second.offered.values()) for second in self.seconds[first:last])

    def goodput(self, first: int, last: int) -> float:
        """Answers in time per second, over the capacity, by when they were given."""
        return sum(second.done for second in self.seconds[first:last]) / (last - first) / self.workers.per_s

    def answered(self, first: int, last: int, *, hot: bool | None = None) -> float:
        """The share of the requests offered, of one class or of all, that were answered in time."""
        classes = (True, False) if hot is None else (hot,)
        chosen = self.seconds[first:last]
        offered = sum(second.offered[name] for second in chosen for name in classes)
        return sum(second.good[name] for second in chosen for name in classes) / offered

    @property
    def _waiting(self) -> int:
        return len(self._queues[0]) + len(self._queues[1])

    def _tick(self) -> None:
        self._next_tick_at = self.now + TICK_S
        self.queue_s.append(self._waiting / self.workers.per_s)
        batch_s = self.workers.time_s(self.workers.max_batch, self.now)
        cost_s = self._waiting * self._cost
        hot_s = len(self._queues[0]) * self._cost
        found = {VARIANT.id: Waiting(cost_s, hot_s, batch_s)}
        self.admission.tick(self.now + self.skew_s, admit_scale=1.0, waiting=found)

    def _arrive(self, job: Job) -> None:
        second = self.seconds[int(job.offered_at)]
        if not job.attempts:
            second.offered[job.hot] += 1
            self.by_client.setdefault(job.client, [0, 0])[0] += 1
        now = self.now + self.skew_s
        demand = job.demand
        try:
            self.admission.admit(demand, size=TEXT_BYTES, cost=self._cost, now=now)
        except Saturated:
            second.refused += 1
            self._retry(job)
            return
        self.admission.placed(demand, VARIANT.id, cost=self._cost, timeout_s=job.timeout_s)
        self._number += 1
        heappush(self._queues[0 if job.hot else 1], (job.deadline, self._number, job))

    def _retry(self, job: Job) -> None:
        if job.attempts < self._retries:
            at = self.now + self._dice.uniform(0.0, 0.1)
            self._number += 1
            again = Job(job.offered_at, job.timeout_s, at + job.timeout_s, job.priority, job.client, job.attempts + 1)
            heappush(self._again, (at, self._number, again))

    def _end(self, job: Job, *, at: float | None) -> None:
        self.admission.release(TEXT_BYTES, caller=job.client, model=VARIANT.model)
        if at is not None and at <= job.deadline:
            self.seconds[int(job.offered_at)].good[job.hot] += 1
            self.seconds[int(self.now)].done += 1
            self.by_client[job.client][1] += 1
        else:
            self._retry(job)

    def _expire(self) -> None:
        for queue in self._queues:
            while queue and queue[0][0] <= self.now:
                self._end(heappop(queue)[2], at=None)

    def _advance(self, device: Device) -> bool:
        """Fill the device's credits, and end the batch that it computes if that is done by now."""
        while len(device.batches) < CREDITS and self._may_form(device):
            device.batches.append(self._form())
        if not device.batches:
            return False
        if device.done_at is None:
            batch = device.batches[0] = [job for job in device.batches[0] if self._is_alive(job)]
            started_at = max(device.free_at, self.now - STEP_S)
            device.done_at = started_at + (self.workers.time_s(len(batch), self.now) if batch else 0.0)
        if device.done_at > self.now:
            return False
        for job in device.batches.popleft():
            self.admission.served(VARIANT.id, self._served_cost)
            self._end(job, at=device.done_at)
        device.free_at, device.done_at = device.done_at, None
        return True

    def _is_alive(self, job: Job) -> bool:
        if job.deadline > self.now:
            return True
        self._end(job, at=None)
        return False

    def _may_form(self, device: Device) -> bool:
        if not self._waiting:
            return False
        return not device.batches or bool(self._queues[0]) or self._waiting >= self.workers.max_batch

    def _form(self) -> list[Job]:
        batch: list[Job] = []
        for queue in self._queues:
            while queue and len(batch) < self.workers.max_batch:
                batch.append(heappop(queue)[2])
        return batch


def arrivals(
    per_s: Callable[[float], float],
    *,
    timeout_s: float = 0.5,
    priority: Callable[[random.Random], float] = lambda dice: dice.random(),
    client: Callable[[random.Random], str] = lambda dice: f"p{dice.randrange(200)}",
    cv: float = 1.0,
) -> Offer:
    """Arrivals at `per_s(now)` whose gaps are Gamma with coefficient of variation `cv`; 1 is a Poisson stream."""
    shape = 1.0 / cv**2
    # Gaps are drawn in units of the mean gap, so that the rate may change while one runs.
    due, reached = [0.0], [0.0]

    def offer(now: float, dice: random.Random) -> list[Job]:
        reached[0] += per_s(now) * STEP_S
        jobs = []
        while due[0] <= reached[0]:
            due[0] += dice.gammavariate(shape, 1.0 / shape)
            jobs.append(Job(now, timeout_s, now + timeout_s, priority(dice), client(dice)))
        return jobs

    return offer


def with_hot(share: float) -> Callable[[random.Random], float]:
    """Priorities of which `share` are hot, each class spread evenly over its range."""

    def priority(dice: random.Random) -> float:
        if dice.random() < share:
            return HOT_FROM + (1.0 - HOT_FROM) * dice.random()
        return HOT_FROM * dice.random()

    return priority
