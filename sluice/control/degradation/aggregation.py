"""From members' readings to the fleet's signals. Who is not heard of is left out, with whatever it could have done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sluice.control.degradation.report_validation import ValidatedReport
from sluice.control.degradation.signals import Signals
from sluice.domain.enums import MemberKind

Heard = tuple[MemberKind, ValidatedReport | None]


def aggregate(members: Iterable[Heard], *, alone: bool = False) -> Signals:
    """The signals of `members`, each with its reading or None while it is unknown."""
    members = tuple(members)
    known = [reading for _, reading in members if reading is not None]
    routers = [one for one in known if one.kind is MemberKind.ROUTER]
    accelerators = [one for one in known if one.kind is MemberKind.GPU_WORKER and not one.draining]
    cpu_workers = [one for one in known if one.kind is MemberKind.CPU_WORKER and not one.draining]
    busy = [one.utilization for one in accelerators if one.utilization is not None]
    memory = _greatest(one.memory for one in accelerators)
    reloaded = _greatest(one.memory + one.full_reload_ratio for one in accelerators if one.memory is not None)
    lowered = _greatest(max(0.0, one.memory - one.lowering_ratio) for one in accelerators if one.memory is not None)
    worst = max(routers, key=_pressure, default=None)
    return Signals(
        utilization=_mean(busy),
        utilization_max=_greatest(busy),
        cpu_utilization=_mean([one.utilization for one in cpu_workers if one.utilization is not None]),
        memory=memory,
        cpu_memory=_greatest(one.memory for one in cpu_workers),
        full_reload_ratio=0.0 if memory is None or reloaded is None else reloaded - memory,
        lowering_ratio=0.0 if memory is None or lowered is None else memory - lowered,
        queue_delay_s=worst.queue_delay_s if worst else None,
        standing_queue_delay_s=worst.standing_queue_delay_s if worst else None,
        median_timeout_s=worst.median_timeout_s if worst else None,
        deadline_miss_ratio=_weighted([(one.deadline_miss_ratio, one.rate) for one in routers]),
        refused_ratio=_weighted([(one.refused_ratio, one.rate) for one in routers]),
        offloaded_utilization=_offloaded(members),
        alone=alone,
    )


def _pressure(router: ValidatedReport) -> tuple[float, float]:
    # How much of its callers' patience a router's queue takes; without a known limit, the delay itself decides.
    delay_s = max(router.queue_delay_s or 0.0, router.standing_queue_delay_s or 0.0)
    return delay_s / (router.median_timeout_s or 1.0), delay_s


def _offloaded(members: Sequence[Heard]) -> float | None:
    # A router that says nothing may divert any amount; without it the sum would promise room that is not there.
    routers = [reading for kind, reading in members if kind is MemberKind.ROUTER]
    diverted = [None if reading is None else reading.offloaded_utilization for reading in routers]
    known = [one for one in diverted if one is not None]
    return sum(known) if known and len(known) == len(diverted) else None


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _greatest(values: Iterable[float | None]) -> float | None:
    return max((one for one in values if one is not None), default=None)


def _weighted(values: Sequence[tuple[float | None, float]]) -> float | None:
    known = [(value, weight) for value, weight in values if value is not None]
    total = sum(weight for _, weight in known)
    if not total:
        return _greatest(value for value, _ in known)
    return sum(value * weight for value, weight in known) / total
