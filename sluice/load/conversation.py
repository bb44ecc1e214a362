"""A conversation: turns that follow each other, each some time after the answer to the one before."""

from __future__ import annotations

from sluice.load.mix import Mix
from sluice.load.request import Request


class Conversation:
    """Conversation `number` of a run, of `turns` turns. It is lost when any of them is not answered in time."""

    __slots__ = ("_mix", "_number", "_turn", "_turns", "id")

    def __init__(self, mix: Mix, *, number: int, turns: int, seed: int) -> None:
        self.id = f"{seed}-{number}"
        self._mix = mix
        self._number = number
        self._turn = 0
        self._turns = turns

    def next_turn(self, scheduled_s: float) -> Request | None:
        """The next turn, for that instant; None when all have been had."""
        if self._turn == self._turns:
            return None
        ask = self._mix.ask(self._number, self._turn)
        self._turn += 1
        return Request(self._number, ask, scheduled_s=scheduled_s, conversation=self)
