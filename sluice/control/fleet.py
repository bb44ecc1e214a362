"""The fleet: what members report, and who they are, as everyone but the wire sees it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from sluice.control.degradation.report import Report
from sluice.control.degradation.signals import UNKNOWN, Signals
from sluice.control.directive import Directive
from sluice.domain.enums import Level, MemberKind


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
