"""Who is in the fleet. Pure bookkeeping: instants are arguments, and nothing here sends or waits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from sluice.control.degradation.aggregation import Heard
from sluice.control.degradation.report import Report
from sluice.control.degradation.report_validation import ReportValidator
from sluice.control.directive import Directive
from sluice.control.fleet import Departure, DepartureReason, Member, Registration
from sluice.domain.variant import card_bytes

# Whether a member does what it was told: it acknowledges in time, and has in force what it acknowledged.


ALARM_S = 2.0


@dataclass(slots=True)
class AckTracker:
    """One member's. Instants are of the governor's monotonic clock, in seconds."""

    owes_since: float | None = None
    disobeys: bool = False
    _is_alarmed: bool = False

    def look(self, applied: tuple[int, int] | None, wanted: tuple[int, int], now: float) -> bool:
        """Note whether an acknowledgement is owed; returns True once when that has lasted too long."""
        if applied == wanted:
            self.owes_since = None
            self._is_alarmed = False
            return False
        if self.owes_since is None or self.owes_since > now:
            self.owes_since = now
        if self._is_alarmed or now - self.owes_since < ALARM_S:
            return False
        self._is_alarmed = True
        return True

    def judge(self, report: Report, acknowledged: tuple[int, int] | None, directive: Directive) -> bool:
        """Compare what a member reports with what it acknowledged; returns True when that has begun to differ.

        A member that decides alone, or does not say what it has in force, is not judged.
        """
        before = self.disobeys
        self.disobeys = _differs(report, acknowledged, directive)
        return self.disobeys and not before


def _differs(report: Report, acknowledged: tuple[int, int] | None, directive: Directive) -> bool:
    if report.decides_alone or acknowledged is None:
        return False
    if report.applied is not None and report.applied < acknowledged:
        return True
    if report.in_force is None or acknowledged != directive.version:
        return False
    # An acknowledgement comes after the deed, and a report after the acknowledgement: the stream keeps their order.
    is_about_it = report.applied is None or report.applied == directive.version
    return is_about_it and report.in_force.effective() != directive.degradation


# Who has left the fleet lately, and why: what routers need to tell a worker that left from one that was only lost.


KEPT_S = 600.0
MOST = 1_024


class Departures:
    """The newest `MOST` departures of the last `KEPT_S` seconds, by address. Instants are arguments, in seconds."""

    def __init__(self) -> None:
        self._by_address: dict[str, tuple[float, Departure]] = {}

    def note(self, member: Member, reason: DepartureReason, *, now: float) -> None:
        """`member` has gone. One that had said that it drains has left by its own word, however its stream ended."""
        if member.report is not None and member.report.draining:
            reason = DepartureReason.LEFT
        departure = Departure(id=member.id, address=member.address, boot=member.boot, reason=reason)
        self._by_address.pop(member.address, None)
        self._by_address[member.address] = (now, departure)
        if len(self._by_address) > MOST:
            del self._by_address[next(iter(self._by_address))]

    def forget(self, member: Member) -> None:
        """A member has reported: it, or whoever was at its address, has come back."""
        self._by_address.pop(member.address, None)
        same = [address for address, (_, one) in self._by_address.items() if member.boot and one.boot == member.boot]
        for address in same:
            del self._by_address[address]

    def newest(self, *, now: float) -> tuple[Departure, ...]:
        """Those that are still worth telling, oldest first."""
        for address, (at, _) in list(self._by_address.items()):
            if now - at <= KEPT_S:
                break
            del self._by_address[address]
        return tuple(departure for _, departure in self._by_address.values())


SILENT_INTERVALS = 3
# A program whose loop is late by as much as this is still there.
SHORTEST_SILENCE_S = 1.5
SHORTEST_FRESH_S = 1.0


class DuplicateMemberId(Exception):
    """Another process that lives has this id or address."""


class TooManyMembers(Exception):
    """There are as many members, or as many bytes of their cards, as this governor takes."""


@dataclass(slots=True)
class MemberEntry:
    """One member's place. A stream that holds an older ticket than the seat's has been replaced."""

    member: Member
    ticket: int
    last_message_at: float
    witness: ReportValidator
    obedience: AckTracker = field(default_factory=AckTracker)
    card_bytes: int = 0


class MemberTable:
    """Members by id. `revision` rises with every change that others decide by."""

    def __init__(self, *, report_interval_s: float, max_members: int = 1024, max_card_bytes: int = 2**26) -> None:
        self.revision = 1
        self._silence_s = max(SILENT_INTERVALS * report_interval_s, SHORTEST_SILENCE_S)
        self._fresh_s = max(SILENT_INTERVALS * report_interval_s, SHORTEST_FRESH_S)
        self._max_members = max_members
        self._max_card_bytes = max_card_bytes
        self._seats: dict[str, MemberEntry] = {}
        self._tickets = 0
        self._departures = Departures()

    def departed(self, *, now: float) -> tuple[Departure, ...]:
        """Who has gone lately and has not come back."""
        return self._departures.newest(now=now)

    def members(self) -> tuple[Member, ...]:
        """Everybody, ordered by id."""
        return tuple(seat.member for _, seat in sorted(self._seats.items()))

    def heard(self, now: float) -> list[Heard]:
        """Everybody's kind and newest reading, None where there is none that is fresh."""
        return [(seat.member.kind, seat.witness.reading(now)) for seat in self._seats.values()]

    def rivals(self, registration: Registration, *, now: float) -> list[MemberEntry]:
        """The places of other processes under the id or address of `registration` that are not silent.

        Processes are told apart by their boot ids. One that says none is known by its id and address alone, as in
        releases that had no boot ids: the same address is the same process.
        """
        held = self._seats.get(registration.id)
        found = [held] if held is not None and _is_another(held.member, registration) else []
        if registration.boot:
            found += [
                seat
                for seat in self._seats.values()
                if seat is not held
                and seat.member.address == registration.address
                and seat.member.boot not in ("", registration.boot)
            ]
        return [seat for seat in found if not self._is_silent(seat, now)]

    def join(self, registration: Registration, *, now: float, succeeds: frozenset[int] = frozenset()) -> int:
        """Seat a member; returns its ticket. It replaces older streams of its process, and silent members.

        Places whose tickets are in `succeeds` are those of processes that are gone: it takes them. Raises
        DuplicateMemberId when another process that lives has the id or the address, and TooManyMembers.
        """
        rivals = self.rivals(registration, now=now)
        for seat in rivals:
            if seat.ticket not in succeeds:
                raise DuplicateMemberId(duplicate(registration, seat.member))
        held = self._seats.get(registration.id)
        for seat in rivals:
            del self._seats[seat.member.id]
        if held is not None and held.member.address != registration.address:
            self._departures.note(held.member, DepartureReason.REMOVED, now=now)
        if registration.id not in self._seats and len(self._seats) >= self._max_members:
            raise TooManyMembers(f"this governor has its {self._max_members} members")
        self._tickets += 1
        member = Member(
            id=registration.id,
            kind=registration.kind,
            address=registration.address,
            boot=registration.boot,
            last_heard_at=datetime.now(UTC),
            applied=registration.obeyed.version if registration.obeyed is not None else None,
        )
        witness = ReportValidator(registration.kind, fresh_s=self._fresh_s)
        self._seats[registration.id] = MemberEntry(member, self._tickets, now, witness)
        self.revision += 1
        return self._tickets

    def last_message_at(self, member_id: str, ticket: int) -> float:
        """When the stream with `ticket` was last heard of; minus infinity if it is not the member's any more."""
        seat = self._seats.get(member_id)
        return seat.last_message_at if seat is not None and seat.ticket == ticket else float("-inf")

    def holds(self, member_id: str, ticket: int) -> bool:
        """Whether the stream with `ticket` still is the member's."""
        seat = self._seats.get(member_id)
        return seat is not None and seat.ticket == ticket

    def applied(self, member_id: str) -> tuple[int, int] | None:
        """The version of the directive that a member acknowledged last."""
        seat = self._seats.get(member_id)
        return seat.member.applied if seat is not None else None

    def report(self, member_id: str, report: Report, directive: Directive, *, now: float) -> list[str]:
        """A member told how it does, under `directive`; returns what is wrong with that, for a log.

        Raises TooManyMembers when there is no room for its cards; nothing of the report is then kept.
        """
        seat = self._seats[member_id]
        before = seat.member.report
        if before is None or before.variants != report.variants:
            seat.card_bytes = self._room_for(seat, report)
        if before is None:
            self._departures.forget(seat.member)
        if before is None or (before.variants, before.draining) != (report.variants, report.draining):
            self.revision += 1
        else:
            # The same object stands for the same cards, so that their wire form need not be made again.
            report = replace(report, variants=before.variants)
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
        seat.last_message_at = now
        return wrong

    def acknowledge(self, member_id: str, version: tuple[int, int], *, now: float) -> bool:
        """A member obeys; returns whether that is news."""
        seat = self._seats[member_id]
        is_new = seat.member.applied != version
        seat.member = replace(seat.member, applied=version, last_heard_at=datetime.now(UTC))
        seat.last_message_at = now
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

    def leave(self, member_id: str, ticket: int, *, reason: DepartureReason = DepartureReason.LOST) -> bool:
        """A stream ended; returns whether the member left with it (it did not if it has a newer one)."""
        if not self.holds(member_id, ticket):
            return False
        seat = self._seats.pop(member_id)
        self._departures.note(seat.member, reason, now=seat.last_message_at)
        self.revision += 1
        return True

    def expire_silent(self, *, now: float) -> list[str]:
        """Drop those who were silent for too long; returns their ids. Silence is not health."""
        silent = [name for name, seat in self._seats.items() if self._is_silent(seat, now)]
        for name in silent:
            self._departures.note(self._seats.pop(name).member, DepartureReason.LOST, now=now)
            self.revision += 1
        return silent

    def _room_for(self, seat: MemberEntry, report: Report) -> int:
        """The bytes of a member's new cards, which fit beside all others'. Raises TooManyMembers."""
        size = card_bytes(report.variants)
        others = sum(one.card_bytes for one in self._seats.values()) - seat.card_bytes
        if others + size > self._max_card_bytes:
            raise TooManyMembers(
                f"the cards of '{seat.member.id}' count for {size} bytes, those of the other members for {others},"
                f" and max_card_bytes is {self._max_card_bytes}"
            )
        return size

    def _is_silent(self, seat: MemberEntry, now: float) -> bool:
        return now - seat.last_message_at > self._silence_s


def duplicate(registration: Registration, other: Member) -> str:
    """What a member is told whose id or address another process has."""
    return (
        f"duplicate id/address: '{registration.id}' at {registration.address} cannot join while another process is a"
        f" member as '{other.id}' at {other.address}; give each its own `id` and `advertise`, or stop one"
    )


def _is_another(member: Member, registration: Registration) -> bool:
    if member.boot and registration.boot:
        return member.boot != registration.boot
    return member.address != registration.address
