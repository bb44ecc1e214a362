"""A fleet as the laws see it: one accelerator, CPU workers, a router with a limiter, and memory. A fluid, in ticks.

What the laws decide changes what they see next: work that is diverted no longer shows in the utilisation, a full model
that is released no longer in memory. That is the trap which the laws have to avoid. Load is in shares of the
accelerator's capacity, queues are in seconds of its work.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from sluice.control.degradation.laws import PolicyState, decide
from sluice.control.degradation.level_state import FULL_SERVICE, DegradationState
from sluice.control.degradation.signals import Signals
from sluice.control.degradation.thresholds import DEFAULT_THRESHOLDS, Thresholds
from sluice.domain.enums import Level

TICK_S = 0.1
SECOND = 10
MEDIAN_TIMEOUT_S = 1.0
LIMITER_TARGET_S = 0.1

Curve = Callable[[float], float]


@dataclass
class Plant:
    """`load` and `memory` by time, before any law acts. `noise` is the load's standard deviation in one tick.

    `lower_saves` is what a lower precision frees of the full model's size; 0: there is none.
    """

    load: Curve = lambda _: 0.5
    memory: Curve = lambda _: 0.3
    cold_share: float = 0.8
    cpu_capacity: float = 2.0
    full_size: float = 0.25
    copy_size: float = 0.03
    lower_saves: float = 0.0
    noise: float = 0.0
    memory_noise: float = 0.0
    measures_offload: bool = True
    seed: int = 0
    in_force: DegradationState = FULL_SERVICE
    queue_s: float = 0.0
    _queues: deque[float] = field(default_factory=lambda: deque(maxlen=SECOND))
    _offered: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=SECOND))

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def step(self, now: float) -> Signals:
        """One tick under what is in force; what the members report of it."""
        offered = max(0.0, self.load(now) + self._dice.gauss(0.0, self.noise))
        cold = offered * self.cold_share
        diverted = min(cold * self.in_force.offload_share, self.cpu_capacity)
        work_s = (offered - diverted) * TICK_S
        # The router's own limiter is always on: cold work that would let the queue stand longer is refused.
        room_s = LIMITER_TARGET_S * self.in_force.admit_scale + TICK_S - self.queue_s
        refused_s = min(max(0.0, work_s - room_s), (cold - diverted) * TICK_S)
        backlog_s = self.queue_s + work_s - refused_s
        busy = min(1.0, backlog_s / TICK_S)
        self.queue_s = max(0.0, backlog_s - TICK_S)
        self._queues.append(self.queue_s)
        self._offered.append((offered * TICK_S, refused_s, diverted * TICK_S))
        saved = 0.0
        if Level.LIGHTEN in self.in_force.levels:
            saved = self.lower_saves if self.in_force.lowers_only else self.full_size
        reached = 0.0 if self.in_force.lowers_only or not saved else self.copy_size
        memory = self.memory(now) + self._dice.gauss(0.0, self.memory_noise)
        return Signals(
            utilization=busy,
            utilization_max=busy,
            cpu_utilization=min(1.0, 0.2 + diverted / self.cpu_capacity),
            memory=min(1.0, max(0.0, memory - saved + reached)),
            full_reload_ratio=saved,
            lowering_ratio=0.0 if saved else self.lower_saves,
            queue_delay_s=sum(self._queues) / len(self._queues),
            standing_queue_delay_s=min(self._queues) if len(self._queues) == SECOND else 0.0,
            median_timeout_s=MEDIAN_TIMEOUT_S,
            deadline_miss_ratio=0.0,
            refused_ratio=self._sum(1) / self._sum(0) if self._sum(0) else 0.0,
            offloaded_utilization=self._sum(2) if self.measures_offload else None,
        )

    def _sum(self, place: int) -> float:
        return sum(one[place] for one in self._offered)


@dataclass(frozen=True)
class Change:
    """The levels at an instant, when they have just changed, and what an operator is shown of them."""

    at: float
    levels: tuple[Level, ...]
    reason: str
    shown: str = ""


Law = Callable[[Signals, float], DegradationState]


def laws(limits: Thresholds = DEFAULT_THRESHOLDS) -> tuple[Law, Callable[[], PolicyState]]:
    """The laws as one thing that remembers, and what it remembers."""
    state = PolicyState()

    def law(signals: Signals, now: float) -> DegradationState:
        nonlocal state
        state, decided = decide(signals, state, now, limits)
        return decided

    return law, lambda: state


def run(plant: Plant, *, seconds: float, law: Law | None = None) -> list[Change]:
    """Every change of the levels. What is decided in one tick is in force in the next."""
    decide_, state = laws()
    law = law or decide_
    changes: list[Change] = []
    for tick in range(round(seconds / TICK_S)):
        now = tick * TICK_S
        decided = law(plant.step(now), now)
        if decided.is_another_step_than(plant.in_force):
            changes.append(Change(now, decided.levels, state().reason, str(decided)))
        plant.in_force = decided
    return changes


def first(changes: list[Change], level: Level) -> float:
    """When `level` came first."""
    return next(one.at for one in changes if level in one.levels)
