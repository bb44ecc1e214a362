"""The fleet: what members report, and who they are, as everyone but the wire sees it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sluice.directive import Directive
from sluice.tier import MemberKind
from sluice.variant import Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A member's reading of itself; None says that a value was not measured. Ratios lie in [0, 1]."""

    measured_at: datetime
    utilization: float | None = None
    memory: float | None = None
    queue_delay_s: float | None = None
    hot_queued: int = 0
    cold_queued: int = 0
    inflight: int = 0
    deadline_miss_ratio: float | None = None
    variants: tuple[Variant, ...] = ()
    draining: bool = False
    requests_per_second: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Who a member is. `obeyed` is the newest directive that it obeys when it joins."""

    id: str
    kind: MemberKind
    address: str
    obeyed: Directive | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member as the governor last saw it; `applied` is the version of the directive that it acknowledged."""

    id: str
    kind: MemberKind
    address: str
    report: Report | None = None
    last_heard_at: datetime | None = None
    applied: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Everybody with an open stream, ordered by id, and the directive in force."""

    epoch: int
    revision: int
    members: tuple[Member, ...]
    directive: Directive
