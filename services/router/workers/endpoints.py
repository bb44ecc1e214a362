"""Which endpoints of workers a router uses. Pure: what is known about one endpoint in, its standing out.

The router's own stream to a worker is the best evidence that it serves, and a governor that does not mention a worker
may only have lost it. So nobody is taken out of service but by a word that is about it: its own, that it leaves; the
governor's, that it removed it while others are there; or that of a listed name, which has other addresses now
(docs/decisions, "Who takes a worker out of service").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from sluice.control.fleet import DepartureReason
from sluice.control.roster import Roster
from sluice.domain.enums import MemberKind

FORGOTTEN_S = 60.0
"""How long a worker that nobody names any more is dialled after the last sign of it."""


class Standing(Enum):
    """What the router does with an endpoint."""

    USE = "use"
    """Dial it and send it work."""
    LEAVE = "leave"
    """Send nothing new, let what is open end, then close."""
    FORGET = "forget"
    """Dial it no more: it does not answer and nobody names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known about one endpoint. `up` is the router's own stream.

    `is_static`: the configuration lists it, or a name there has its address now. `left_name`: a name that is listed had
    its address, and has others now. `is_member` and `says_draining` are of the newest fleet, as is `departure`, None if
    there is none about this process; `names_others`: that fleet has other workers. `unnamed_s`: for how long nobody has
    named it, and it was not up.
    """

    is_static: bool = False
    left_name: bool = False
    is_member: bool = False
    says_draining: bool = False
    departure: DepartureReason | None = None
    names_others: bool = False
    up: bool = False
    unnamed_s: float = 0.0


def standing_of(evidence: Evidence) -> Standing:
    """What to do with an endpoint."""
    if evidence.is_static:
        return Standing.USE
    if evidence.is_member:
        return Standing.LEAVE if evidence.says_draining else Standing.USE
    if _is_out(evidence):
        return Standing.LEAVE
    if not evidence.up and evidence.unnamed_s > FORGOTTEN_S:
        return Standing.FORGET
    return Standing.USE


def _is_out(evidence: Evidence) -> bool:
    if evidence.departure is DepartureReason.REMOVED:
        return evidence.names_others
    return evidence.left_name or evidence.departure is DepartureReason.LEFT


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetWord:
    """What the newest fleet says about one endpoint."""

    is_member: bool = False
    says_draining: bool = False
    departure: DepartureReason | None = None
    names_others: bool = False


class RosterIndex:
    """A fleet, to be asked about one endpoint after the other."""

    def __init__(self, roster: Roster) -> None:
        self.workers = roster.workers
        self._by_boot = {one.boot: one for one in self.workers if one.boot}
        self._by_address = {one.address: one for one in self.workers}
        self._gone_by_boot = {one.boot: one for one in roster.departed if one.boot}
        self._gone_by_address = {one.address: one for one in roster.departed}

    def is_accelerator(self, names: Iterable[str]) -> bool:
        """Whether an accelerator worker is advertised under one of `names`."""
        found = (self._by_address.get(name) for name in names)
        return any(one is not None and one.kind is MemberKind.GPU_WORKER for one in found)

    def word_of(self, *, names: Iterable[str], ever_named: Iterable[str], boot: str) -> FleetWord:
        """What the fleet says about the process with `boot` (empty: not known) that the addresses `names` lead to.

        `ever_named` are those that have ever led there. A boot id tells a process for certain. Where one side does not
        know it, the address has to do: a departure with another boot id is that of a predecessor.
        """
        mine = self._by_boot.get(boot) if boot else None
        if mine is None:
            mine = next((self._by_address[name] for name in names if name in self._by_address), None)
        # One that joins anew and does not get as far as a report has not come back.
        departure = None if mine is not None and mine.has_reported else self._departure(ever_named, boot)
        is_member = mine is not None and departure is None
        return FleetWord(
            is_member=is_member,
            says_draining=mine is not None and mine.draining,
            departure=departure,
            names_others=len(self.workers) > (mine is not None),
        )

    def _departure(self, names: Iterable[str], boot: str) -> DepartureReason | None:
        known = self._gone_by_boot.get(boot) if boot else None
        if known is not None:
            return known.reason
        found = (self._gone_by_address.get(name) for name in names)
        about = [one for one in found if one is not None and not (boot and one.boot)]
        return about[-1].reason if about else None
