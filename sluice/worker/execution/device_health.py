"""The end of a device: who finds out reports it here, from any thread, and the program that waits for it stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

logger = logging.getLogger(__name__)


class DeviceLoss:
    """`why` is empty as long as the device computes. Make it on the loop that will wait for it.

    `first` is called there before whatever is given to the loop after the report, so that routers learn of the loss
    before they get back what was lost by it.
    """

    def __init__(self, first: Callable[[], None] | None = None) -> None:
        self.why = ""
        self._first = first
        self._loop = asyncio.get_running_loop()
        self._reported = asyncio.Event()

    def report(self, why: str) -> None:
        """The device is lost; only the first report counts."""
        if self.why:
            return
        self.why = why
        logger.critical("the device is lost", extra={"why": why})
        self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        if self._first is not None:
            self._first()
        self._reported.set()

    async def wait(self) -> None:
        """Return when the device is lost."""
        await self._reported.wait()
