"""The fleet: what members report, and who they are, as everyone but the wire sees it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from sluice.control.degradation.level_state import Degradation
from sluice.control.degradation.signals import UNKNOWN, Signals
from sluice.control.directive import Directive
from sluice.domain.enums import Level, MemberKind
from sluice.domain.variant import Variant


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
    standing_queue_delay_s: float | None = None
    """The least time that a request of the last second waited; 0 as soon as nothing waited at some moment of it."""
    median_timeout_s: float | None = None
    """The median time limit of the requests of the last second."""
    refused_ratio: float | None = None
    """Share of what was offered in the last second that admission refused."""
    offloaded_utilization: float | None = None
    """What the work that level 1 diverts would add to the accelerators' mean utilisation."""
    full_reload_ratio: float | None = None
    """A worker's memory that reloading its full models would take, over the limit; None if it has released none."""
    lowering_ratio: float | None = None
    """A worker's memory that lower precisions would free, over the limit; None if it has none, or they are in force."""
    swap_trouble: str = ""
    """Why a change of what a worker holds was rolled back, or waits."""
    in_force: Degradation | None = None
    """What the member decides by."""
    applied: tuple[int, int] | None = None
    """The version of the newest directive that it applied."""
    decides_alone: bool = False
    """Whether `in_force` is its own decision, because no governor was heard for a lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Who a member is. `obeyed` is what it has in force when it joins, under the newest version that it applied.

    `is_directed` says whether a governor directed it within the lease of that directive. `boot` names the start of its
    process, and `mesh` the mesh that it belongs to; empty if it does not say.
    """

    id: str
    kind: MemberKind
    address: str
    obeyed: Directive | None = None
    is_directed: bool = False
    boot: str = ""
    mesh: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member as the governor last saw it; `applied` is the version of the directive that it acknowledged.

    `unacknowledged_s` is for how long it has owed an acknowledgement, None if it owes none. `disobeys` says that what
    it reports to be in force is not what it acknowledged. `doubted` counts the values that were not believed.
    """

    id: str
    kind: MemberKind
    address: str
    report: Report | None = None
    last_heard_at: datetime | None = None
    applied: tuple[int, int] | None = None
    unacknowledged_s: float | None = None
    disobeys: bool = False
    doubted: int = 0
    boot: str = ""


class DepartureReason(IntEnum):
    """Why a member is no longer in the fleet."""

    LEFT = 1
    """By its own word: it half-closed its stream, or said that it drains."""
    REMOVED = 2
    """The governor ended its stream, because it broke the contract or another process took its id."""
    LOST = 3
    """Its stream broke or fell silent. It may well live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """A member that was in the fleet and is no longer."""

    id: str
    address: str
    boot: str = ""
    reason: DepartureReason = DepartureReason.LOST


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """The fleet's levels changed at an instant of the governor's wall clock: from what, to what, and by what signals.

    `directive` is the one that said so, with its version and reason.
    """

    at: datetime
    before: tuple[Level, ...]
    directive: Directive
    signals: Signals


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Everybody with an open stream, ordered by id, the directive in force and the signals it was decided by.

    `departed` are those who went lately and have not come back.
    """

    epoch: int
    revision: int
    members: tuple[Member, ...]
    directive: Directive
    signals: Signals = UNKNOWN
    departed: tuple[Departure, ...] = ()
