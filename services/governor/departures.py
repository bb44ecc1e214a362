"""Who has left the fleet lately, and why: what routers need to tell a worker that left from one that was only lost."""

from __future__ import annotations

from sluice.control.fleet import Departure, DepartureReason, Member

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
