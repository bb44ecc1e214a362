"""A request from the instant for which it was scheduled to its end, over all its attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.load.mix import Ask

if TYPE_CHECKING:
    from sluice.load.generator import Conversation


class Request:
    """One request of the schedule's arrival `number`. Instants are seconds from the run's start."""

    __slots__ = ("ask", "attempts", "conversation", "number", "scheduled_s", "sent_s")

    def __init__(self, number: int, ask: Ask, *, scheduled_s: float, conversation: Conversation | None = None) -> None:
        self.number = number
        self.ask = ask
        self.scheduled_s = scheduled_s
        self.conversation = conversation
        self.attempts = 0
        self.sent_s = scheduled_s
