"""A look at a device that nobody asks anything: one that cannot be read any more is tried, and may turn out lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sluice.worker.resources.reading import ResourceMonitor, Unreadable

LOOK_EVERY_S = 0.5
# For how long a device cannot be read before it is tried: drivers falter, and a batch would find out by itself.
PATIENCE_S = 3.0


class DeviceWatch:
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
        except Unreadable:
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
