"""Who is in the fleet. Pure bookkeeping: instants are arguments, and nothing here sends or waits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sluice.fleet import Member, Registration, Report

SILENT_INTERVALS = 3


class IdTaken(Exception):
    """A live member at another address has this id."""


@dataclass(slots=True)
class Seat:
    """One member's place. A stream that holds an older ticket than the seat's has been replaced."""

    member: Member
    ticket: int
    heard_at: float


class MembershipTable:
    """Members by id. `revision` rises with every change that others decide by."""

    def __init__(self, *, report_interval_s: float) -> None:
        self.revision = 1
        self._silence_s = SILENT_INTERVALS * report_interval_s
        self._seats: dict[str, Seat] = {}
        self._tickets = 0

    def members(self) -> tuple[Member, ...]:
        """Everybody, ordered by id."""
        return tuple(seat.member for _, seat in sorted(self._seats.items()))

    def join(self, registration: Registration, *, now: float) -> int:
        """Seat a member; returns its ticket. The same id at the same address replaces the older stream.

        Raises IdTaken when a member that is heard of has the id and another address.
        """
        held = self._seats.get(registration.id)
        if held is not None and held.member.address != registration.address and not self._is_silent(held, now):
            raise IdTaken(f"'{registration.id}' is the id of a member at {held.member.address}")
        self._tickets += 1
        member = Member(
            id=registration.id,
            kind=registration.kind,
            address=registration.address,
            last_heard_at=datetime.now(UTC),
            applied=registration.obeyed.version if registration.obeyed is not None else None,
        )
        self._seats[registration.id] = Seat(member, self._tickets, now)
        self.revision += 1
        return self._tickets

    def holds(self, member_id: str, ticket: int) -> bool:
        """Whether the stream with `ticket` still is the member's."""
        seat = self._seats.get(member_id)
        return seat is not None and seat.ticket == ticket

    def report(self, member_id: str, report: Report, *, now: float) -> None:
        """A member told how it does."""
        seat = self._seats[member_id]
        before = seat.member.report
        if before is None or (before.variants, before.draining) != (report.variants, report.draining):
            self.revision += 1
        seat.member = replace(seat.member, report=report, last_heard_at=datetime.now(UTC))
        seat.heard_at = now

    def acknowledge(self, member_id: str, version: tuple[int, int], *, now: float) -> None:
        """A member obeys the directive with `version`."""
        seat = self._seats[member_id]
        seat.member = replace(seat.member, applied=version, last_heard_at=datetime.now(UTC))
        seat.heard_at = now

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
