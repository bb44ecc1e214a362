"""The end of a device: who finds out reports it here, from any thread, and the program that waits for it stops."""

from __future__ import annotations

import asyncio
import logging

logger = logging.getLogger(__name__)


class DeviceLoss:
    """`why` is empty as long as the device computes. Make it on the loop that will wait for it."""

    def __init__(self) -> None:
        self.why = ""
        self._loop = asyncio.get_running_loop()
        self._reported = asyncio.Event()

    def report(self, why: str) -> None:
        """The device is lost; only the first report counts."""
        if self.why:
            return
        self.why = why
        logger.critical("the device is lost", extra={"why": why})
        self._loop.call_soon_threadsafe(self._reported.set)

    async def wait(self) -> None:
        """Return when the device is lost."""
        await self._reported.wait()
