"""Who is in the fleet, as far as a router decides by it, read from the governor's snapshots."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.control.codec import departure_from_proto
from sluice.control.fleet import Departure
from sluice.domain.enums import MemberKind
from sluice.v1 import health_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterEntry:
    """One member. `has_reported` since it joined, and `draining`: its last report says that it takes nothing new."""

    id: str
    kind: MemberKind
    address: str
    boot: str = ""
    draining: bool = False
    has_reported: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """Everybody who is there, and who went lately."""

    members: tuple[RosterEntry, ...] = ()
    departed: tuple[Departure, ...] = ()

    @property
    def workers(self) -> tuple[RosterEntry, ...]:
        """The members that compute."""
        return tuple(one for one in self.members if one.kind is not MemberKind.ROUTER)


def roster_from_proto(message: health_pb2.Fleet) -> Roster:
    """The roster of a whole fleet. Members of kinds that this release does not know are left out."""
    known = {kind.value: kind for kind in MemberKind}
    members = tuple(
        RosterEntry(
            id=one.id,
            kind=known[one.kind],
            address=one.address,
            boot=one.boot,
            draining=one.report.draining,
            has_reported=one.HasField("report"),
        )
        for one in message.members
        if one.kind in known
    )
    return Roster(members=members, departed=tuple(map(departure_from_proto, message.departed)))
