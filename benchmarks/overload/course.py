"""Signals with a known course, told by members that are none: what a router, an accelerator and a CPU worker report.

A course knows which levels are in force, because a level changes the signal that raised it: work that leaves the
accelerator leaves it less busy, and a smaller model needs less memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping

from sluice.domain.enums import Level, MemberKind

Signals = Mapping[str, float]
Course = Callable[[MemberKind, float, Collection[Level]], Signals]
CROSSING_S = 3.0
EPISODE_ENDS_S, EPISODE_S = 15.0, 45.0
OFFLOADED, RELOAD = 0.25, 0.30


def crossing(kind: MemberKind, second: float, levels: Collection[Level]) -> Signals:
    """Everything is well until both signals pass their thresholds at one instant, and stay there."""
    beyond = second >= CROSSING_S
    return _reported(kind, levels, utilization=0.97 if beyond else 0.5, memory=0.90 if beyond else 0.5)


def episode(kind: MemberKind, second: float, levels: Collection[Level]) -> Signals:
    """Too much load for a while, and then little."""
    beyond = CROSSING_S <= second < EPISODE_ENDS_S
    return _reported(kind, levels, utilization=0.97 if beyond else 0.45, memory=0.5)


def edge(kind: MemberKind, second: float, levels: Collection[Level]) -> Signals:
    """Both signals hover at their thresholds, in two waves that never fall together, for ever."""
    wave = math.sin(second * 0.9) + math.sin(second * 2.3)
    return _reported(kind, levels, utilization=0.90 + 0.015 * wave, memory=0.85 + 0.005 * wave)


def _reported(kind: MemberKind, levels: Collection[Level], *, utilization: float, memory: float) -> Signals:
    """What a member of `kind` reports when the load is so high that at full service the signals would be these."""
    offloads, lightens = Level.OFFLOAD in levels, Level.LIGHTEN in levels
    if kind is MemberKind.ROUTER:
        delays = {"queue_delay_s": 0.01, "standing_queue_delay_s": 0.005, "median_timeout_s": 1.0}
        ratios = {"deadline_miss_ratio": 0.0, "refused_ratio": 0.0}
        return delays | ratios | {"offloaded_utilization": OFFLOADED if offloads else 0.0}
    if kind is MemberKind.CPU_WORKER:
        return {"utilization": 0.4, "memory": 0.3}
    reload = {"full_reload_ratio": RELOAD} if lightens else {}
    return {
        "utilization": utilization - (OFFLOADED if offloads else 0.0),
        "memory": memory - (RELOAD if lightens else 0.0),
    } | reload
