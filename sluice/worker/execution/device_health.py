"""The end of a device: who finds out reports it here, from any thread, and the program that waits for it stops."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from sluice.worker.resources.reading import MonitorError, ResourceMonitor

logger = logging.getLogger(__name__)


# A look at a device that nobody asks anything: one that cannot be read any more is tried, and may turn out lost.


LOOK_EVERY_S = 0.5
# For how long a device cannot be read before it is tried: drivers falter, and a batch would find out by itself.
PATIENCE_S = 3.0


class DeviceProber:
    """Calls `probe` when `monitor` cannot be read for PATIENCE_S, and again each time that has lasted as long."""

    def __init__(
        self,
        monitor: ResourceMonitor,
        probe: Callable[[], object],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monitor = monitor
        self._probe = probe
        self._clock = clock
        self._unread_since: float | None = None

    def look(self) -> None:
        """Read once."""
        now = self._clock()
        try:
            self._monitor.read()
        except MonitorError:
            if self._unread_since is None:
                self._unread_since = now
            elif now - self._unread_since >= PATIENCE_S:
                self._unread_since = now
                self._probe()
        else:
            self._unread_since = None

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()


class DeviceLossLatch:
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
