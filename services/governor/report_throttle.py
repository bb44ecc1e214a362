"""A member's reports as they come in: however many it sends, a bounded number is read.

Of reports that come sooner than a tenth of the interval after another only the newest is read, when that time is up.
Whoever sends very many is not even heard out: its stream is left alone for the rest of that time, and gRPC's flow
control stops it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sluice.domain.errors import SluiceError
from sluice.v1 import health_pb2

PACE = 0.1
# Messages that are taken from a stream in one such time.
MOST_MESSAGES = 32


class ReportThrottle:
    """One stream's. `read` is called with each report that counts, on the loop; it may raise a SluiceError."""

    def __init__(self, read: Callable[[health_pb2.HealthReport], None], *, interval_s: float) -> None:
        self._read = read
        self._gap_s = PACE * interval_s
        self._loop = asyncio.get_running_loop()
        self._open_at = float("-inf")
        self._newest: health_pb2.HealthReport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._window_ends_at = float("-inf")
        self._messages = 0
        self._fault: SluiceError | None = None

    async def pause(self) -> None:
        """Called for each message: waits if there were too many just now. Raises what `read` raised meanwhile."""
        if self._fault is not None:
            raise self._fault
        now = self._loop.time()
        if now >= self._window_ends_at:
            self._window_ends_at = now + self._gap_s
            self._messages = 0
        self._messages += 1
        if self._messages > MOST_MESSAGES:
            await asyncio.sleep(self._window_ends_at - now)

    def take(self, report: health_pb2.HealthReport) -> None:
        """Read `report` now, or keep it for as long as it is too soon, in place of the one that was kept."""
        now = self._loop.time()
        if self._timer is not None:
            self._newest = report
        elif now >= self._open_at:
            self._open_at = now + self._gap_s
            self._read(report)
        else:
            self._newest = report
            self._timer = self._loop.call_at(self._open_at, self._late)

    def close(self) -> None:
        """Forget what was kept."""
        if self._timer is not None:
            self._timer.cancel()

    def _late(self) -> None:
        report, self._newest, self._timer = self._newest, None, None
        self._open_at = self._loop.time() + self._gap_s
        if report is not None:
            try:
                self._read(report)
            except SluiceError as error:
                self._fault = error
