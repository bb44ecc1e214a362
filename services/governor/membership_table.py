"""Who is in the fleet. Pure bookkeeping: instants are arguments, and nothing here sends or waits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from services.governor.obedience import Obedience
from sluice.degradation.fusion import Heard
from sluice.degradation.witness import Witness
from sluice.directive import Directive
from sluice.fleet import Member, Registration, Report

SILENT_INTERVALS = 3
# A program whose loop is late by as much as this is still there.
SHORTEST_SILENCE_S = 1.5
SHORTEST_FRESH_S = 1.0


class IdTaken(Exception):
    """A live member at another address has this id."""


class FleetFull(Exception):
    """There are as many members as this governor takes."""


@dataclass(slots=True)
class Seat:
    """One member's place. A stream that holds an older ticket than the seat's has been replaced."""

    member: Member
    ticket: int
    heard_at: float
    witness: Witness
    obedience: Obedience = field(default_factory=Obedience)


class MembershipTable:
    """Members by id. `revision` rises with every change that others decide by."""

    def __init__(self, *, report_interval_s: float, max_members: int = 1024) -> None:
        self.revision = 1
        self._silence_s = max(SILENT_INTERVALS * report_interval_s, SHORTEST_SILENCE_S)
        self._fresh_s = max(SILENT_INTERVALS * report_interval_s, SHORTEST_FRESH_S)
        self._max_members = max_members
        self._seats: dict[str, Seat] = {}
        self._tickets = 0

    def members(self) -> tuple[Member, ...]:
        """Everybody, ordered by id."""
        return tuple(seat.member for _, seat in sorted(self._seats.items()))

    def heard(self, now: float) -> list[Heard]:
        """Everybody's kind and newest reading, None where there is none that is fresh."""
        return [(seat.member.kind, seat.witness.reading(now)) for seat in self._seats.values()]

    def join(self, registration: Registration, *, now: float) -> int:
        """Seat a member; returns its ticket. The same id at the same address replaces the older stream.

        Raises IdTaken when a member that is heard of has the id and another address, and FleetFull.
        """
        held = self._seats.get(registration.id)
        if held is not None and held.member.address != registration.address and not self._is_silent(held, now):
            raise IdTaken(f"'{registration.id}' is the id of a member at {held.member.address}")
        if held is None and len(self._seats) >= self._max_members:
            raise FleetFull(f"this governor has its {self._max_members} members")
        self._tickets += 1
        member = Member(
            id=registration.id,
            kind=registration.kind,
            address=registration.address,
            last_heard_at=datetime.now(UTC),
            applied=registration.obeyed.version if registration.obeyed is not None else None,
        )
        witness = Witness(registration.kind, fresh_s=self._fresh_s)
        self._seats[registration.id] = Seat(member, self._tickets, now, witness)
        self.revision += 1
        return self._tickets

    def holds(self, member_id: str, ticket: int) -> bool:
        """Whether the stream with `ticket` still is the member's."""
        seat = self._seats.get(member_id)
        return seat is not None and seat.ticket == ticket

    def applied(self, member_id: str) -> tuple[int, int] | None:
        """The version of the directive that a member acknowledged last."""
        seat = self._seats.get(member_id)
        return seat.member.applied if seat is not None else None

    def report(self, member_id: str, report: Report, directive: Directive, *, now: float) -> list[str]:
        """A member told how it does, under `directive`; returns what is wrong with that, for a log."""
        seat = self._seats[member_id]
        before = seat.member.report
        if before is None or (before.variants, before.draining) != (report.variants, report.draining):
            self.revision += 1
        had_doubts = set(seat.witness.doubts)
        seat.witness.hear(report, now)
        wrong = [f"{name} is not believed" for name in seat.witness.doubts if name not in had_doubts]
        if seat.obedience.judge(report, seat.member.applied, directive):
            wrong.append("it does not obey what it acknowledged")
        seat.member = replace(
            seat.member,
            report=report,
            last_heard_at=datetime.now(UTC),
            disobeys=seat.obedience.disobeys,
            doubted=seat.witness.doubted,
        )
        seat.heard_at = now
        return wrong

    def acknowledge(self, member_id: str, version: tuple[int, int], *, now: float) -> bool:
        """A member obeys; returns whether that is news."""
        seat = self._seats[member_id]
        is_new = seat.member.applied != version
        seat.member = replace(seat.member, applied=version, last_heard_at=datetime.now(UTC))
        seat.heard_at = now
        return is_new

    def owing(self, directive: Directive, *, now: float) -> list[str]:
        """Note who has not acknowledged `directive` yet; returns the ids of those who have just become too late."""
        late = []
        for name, seat in self._seats.items():
            if seat.obedience.look(seat.member.applied, directive.version, now):
                late.append(name)
            since = seat.obedience.owes_since
            owed_s = None if since is None else now - since
            if owed_s != seat.member.unacknowledged_s:
                seat.member = replace(seat.member, unacknowledged_s=owed_s)
        return late

    def leave(self, member_id: str, ticket: int) -> bool:
        """A stream ended; returns whether the member left with it (it did not if it has a newer one)."""
        if not self.holds(member_id, ticket):
            return False
        del self._seats[member_id]
        self.revision += 1
        return True

    def drop_silent(self, *, now: float) -> list[str]:
        """Drop those who were silent for too long; returns their ids. Silence is not health."""
        silent = [name for name, seat in self._seats.items() if self._is_silent(seat, now)]
        for name in silent:
            del self._seats[name]
            self.revision += 1
        return silent

    def _is_silent(self, seat: Seat, now: float) -> bool:
        return now - seat.heard_at > self._silence_s
