"""One worker's texts, as its router keeps them: credits, what is open, and how they share the device.

Texts that are written at a time share their device evenly (processor sharing, as Kleinrock has it, 1967): while n of
them are, a second gives each one 1/n of a device-second. One clock that runs at that speed tells every text's part.
"""

from __future__ import annotations

from services.router.requests.generation import TextTicket
from sluice.domain.variant import Variant


class TextAccount:
    """`variants` are those it writes with now; `open` are texts sent, by id. Clocks are arguments, in seconds.

    While `lone` is set nothing else may be sent: it is a suspect that is tried.
    """

    def __init__(self) -> None:
        self.credits = 0
        self.variants: dict[str, Variant] = {}
        self.open: dict[int, TextTicket] = {}
        self.lone: TextTicket | None = None
        self._begun = 0
        self._at = 0.0
        self._share_s = 0.0
        self._served_s = 0.0

    @property
    def unbegun(self) -> int:
        """Texts that the worker has no memory for yet, or has not told of."""
        return len(self.open) - self._begun

    def send(self, ticket: TextTicket) -> None:
        """The text is on its way, against a credit."""
        self.credits -= 1
        self.open[ticket.id] = ticket
        ticket.begun_at = None
        ticket.received_bytes = 0
        if ticket.suspect:
            self.lone = ticket

    def begin(self, ticket: TextTicket, now: float) -> None:
        """The text has got its memory."""
        self._advance(now)
        self._begun += 1
        ticket.begun_at = now
        ticket.begun_share_s = self._share_s

    def end(self, ticket: TextTicket, now: float) -> float:
        """Its last piece has come; returns the seconds of the device that it took."""
        self._advance(now)
        del self.open[ticket.id]
        self.clear(ticket)
        self._begun -= 1
        return self._share_s - ticket.begun_share_s

    def clear(self, ticket: TextTicket) -> None:
        """If it is the lone one, others may join it."""
        if self.lone is ticket:
            self.lone = None

    def served_s(self, now: float) -> float:
        """Seconds in which anything was written since this was asked last."""
        self._advance(now)
        served_s, self._served_s = self._served_s, 0.0
        return served_s

    def void(self) -> list[TextTicket]:
        """The worker is gone: everything that was open there."""
        lost = list(self.open.values())
        self.open.clear()
        self.lone = None
        self.variants = {}
        self.credits = self._begun = 0
        return lost

    def _advance(self, now: float) -> None:
        if self._begun:
            elapsed_s = now - self._at
            self._share_s += elapsed_s / self._begun
            self._served_s += elapsed_s
        self._at = now
