"""One router at a worker: the credits it was granted, the batches it has here, and what it is still to be sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sluice.domain.errors import Saturated
from sluice.worker.execution.batch import Done, Work
from sluice.worker.executor import Device

Send = Callable[[int, Work, Done], None]


class Session:
    """The credit account of one Execute stream. `send` is called with each batch that is done."""

    def __init__(self, device: Device, *, credits_: int, send: Send) -> None:
        self._device = device
        self._credits = credits_
        self._send = send
        self._open: dict[int, Work] = {}
        self.finished = asyncio.Event()
        self.finished.set()

    @property
    def open_items(self) -> int:
        """Items taken and not answered."""
        return sum(len(work.items) for work in self._open.values())

    def take(self, number: int, work: Work) -> None:
        """Take batch `number` against a credit. Raises Saturated when the router has none left."""
        if len(self._open) >= self._credits or number in self._open:
            raise Saturated(f"batch {number} exceeds the {self._credits} credits that were granted")
        self._open[number] = work
        self.finished.clear()
        work.done.add_done_callback(lambda future: self._done(number, work, future))
        self._device.submit(work)

    def cancel(self, ids: set[int]) -> None:
        """Do not compute these items if their batch has not been begun."""
        for work in self._open.values():
            work.cancelled |= ids

    def abandon(self) -> None:
        """The router has gone: nothing that has not been begun is computed."""
        for work in self._open.values():
            work.cancelled.update(item.id for item in work.items)
            work.done.cancel()
        self._open.clear()
        self.finished.set()

    def _done(self, number: int, work: Work, future: asyncio.Future[Done]) -> None:
        if future.cancelled() or self._open.pop(number, None) is None:
            return
        if not self._open:
            self.finished.set()
        self._send(number, work, future.result())
