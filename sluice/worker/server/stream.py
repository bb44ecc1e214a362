"""One Execute stream at a worker: a router's batches and texts, and what it is still to be sent."""

from __future__ import annotations

from collections.abc import Iterable

from sluice.worker.outbox import Outbox
from sluice.worker.server.generation_stream import TextSession
from sluice.worker.session import Session


class ExecuteStream:
    """The two accounts of one router, which takes `max_message_bytes`, and the outbox that both of them fill."""

    def __init__(self, batches: Session, texts: TextSession, outbox: Outbox, *, max_message_bytes: int) -> None:
        self.max_message_bytes = max_message_bytes
        self.batches = batches
        self.texts = texts
        self.outbox = outbox

    @property
    def open_items(self) -> int:
        """Items and texts taken and not answered."""
        return self.batches.open_items + self.texts.open_texts

    def cancel(self, numbers: Iterable[int]) -> None:
        """Nobody waits for these items and texts any more."""
        wanted = set(numbers)
        self.batches.cancel(wanted)
        self.texts.cancel(wanted)

    def abandon(self) -> None:
        """The router has gone."""
        self.batches.abandon()
        self.texts.abandon()

    async def finished(self) -> None:
        """Return when everything that was taken is answered, and all answers are sent."""
        await self.batches.finished.wait()
        await self.texts.finished.wait()
        await self.outbox.flushed()
