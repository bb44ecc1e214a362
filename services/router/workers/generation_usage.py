"""One worker's texts, as its router keeps them: credits, what is open, and how they share the device.

Texts that are written at a time share their device evenly (processor sharing, as Kleinrock has it, 1967): while n of
them are, a second gives each one 1/n of a device-second. One clock that runs at that speed tells every text's part.
"""

from __future__ import annotations

from collections.abc import Collection

from services.router.requests.generation import PendingGeneration
from sluice.domain.variant import Variant

# What a text costs, in seconds of a device, learnt from texts that have ended.
#
# A lone text has the device for itself and takes as much of it as hundreds do together, so its time says little about
# what one more costs. So an estimate follows only texts that ended while others waited for memory, and else only
# falls.


# What admission counts for a text while nothing is known of its cost.
UNKNOWN_COST_S = 1e-3
FOLLOW = 0.05


class GenerationCostModel:
    """By model: device time per token written, and how many tokens a text usually has."""

    def __init__(self) -> None:
        self._token_s: dict[str, float] = {}
        self._tokens: dict[str, float] = {}

    def keep(self, models: Collection[str]) -> None:
        """Forget all but `models`."""
        for known in (self._token_s, self._tokens):
            for model in [one for one in known if one not in models]:
                del known[model]

    def expected_s(self, model: str, max_new_tokens: int) -> float:
        """What a text of at most so many tokens is expected to take."""
        token_s = self._token_s.get(model)
        if token_s is None:
            return UNKNOWN_COST_S
        return token_s * min(max_new_tokens, self._tokens[model])

    def learn(self, model: str, *, tokens: int, device_s: float, contended: bool) -> None:
        """A text of `tokens` ended, and took `device_s`; `contended` says that others waited to be written."""
        if tokens <= 0 or device_s <= 0.0:
            return
        seen_s = device_s / tokens
        known_s = self._token_s.get(model)
        if known_s is None:
            if contended:
                self._token_s[model], self._tokens[model] = seen_s, float(tokens)
            return
        self._tokens[model] += FOLLOW * (tokens - self._tokens[model])
        if contended or seen_s < known_s:
            self._token_s[model] += FOLLOW * (seen_s - known_s)


class GenerationUsage:
    """`variants` are those it writes with now; `open` are texts sent, by id. Clocks are arguments, in seconds.

    While `lone` is set nothing else may be sent: it is a suspect that is tried.
    """

    def __init__(self) -> None:
        self.credits = 0
        self.variants: dict[str, Variant] = {}
        self.open: dict[int, PendingGeneration] = {}
        self.lone: PendingGeneration | None = None
        self._begun = 0
        self._at = 0.0
        self._share_s = 0.0
        self._served_s = 0.0

    @property
    def waiting_for_kv(self) -> int:
        """Texts that the worker has no memory for yet, or has not told of."""
        return len(self.open) - self._begun

    def send(self, ticket: PendingGeneration) -> None:
        """The text is on its way, against a credit."""
        self.credits -= 1
        self.open[ticket.id] = ticket
        ticket.begun_at = None
        ticket.received_bytes = 0
        if ticket.suspect:
            self.lone = ticket

    def begin(self, ticket: PendingGeneration, now: float) -> None:
        """The text has got its memory."""
        self._advance(now)
        self._begun += 1
        ticket.begun_at = now
        ticket.begun_share_s = self._share_s

    def end(self, ticket: PendingGeneration, now: float) -> float:
        """Its last piece has come; returns the seconds of the device that it took."""
        self._advance(now)
        del self.open[ticket.id]
        self.clear(ticket)
        self._begun -= 1
        return self._share_s - ticket.begun_share_s

    def clear(self, ticket: PendingGeneration) -> None:
        """If it is the lone one, others may join it."""
        if self.lone is ticket:
            self.lone = None

    def served_s(self, now: float) -> float:
        """Seconds in which anything was written since this was asked last."""
        self._advance(now)
        served_s, self._served_s = self._served_s, 0.0
        return served_s

    def void(self) -> list[PendingGeneration]:
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
