"""A monitor that is read on a thread of its own: a driver that hangs makes its reading old, and holds up nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sluice.worker.resources.reading import Reading, ResourceMonitor, Unreadable

INTERVAL_S = 0.1
STALE_S = 2.0


class BackgroundMonitor:
    """Reads what `source` gives, every INTERVAL_S. `source` is asked again until it has a monitor to give."""

    def __init__(
        self,
        source: Callable[[], ResourceMonitor | None],
        *,
        interval_s: float = INTERVAL_S,
        stale_s: float = STALE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._interval_s = interval_s
        self._stale_s = stale_s
        self._clock = clock
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        self._newest: tuple[float, Reading | Unreadable] | None = None

    def read(self) -> Reading:
        """The newest reading, and nothing while there is no monitor. Raises Unreadable if it failed, or is too old."""
        if self._thread is None:
            try:
                monitor = self._source()
            except Exception as error:
                raise Unreadable(f"there is no monitor: {error}") from error
            if monitor is None:
                return Reading()
            # The process may end while the driver hangs.
            self._thread = threading.Thread(target=self._watch, args=(monitor,), name="monitor", daemon=True)
            self._thread.start()
        if self._newest is None:
            raise Unreadable("nothing has been read yet")
        at, reading = self._newest
        age_s = self._clock() - at
        if age_s > self._stale_s:
            raise Unreadable(f"the newest reading is {age_s:.1f} s old")
        if isinstance(reading, Unreadable):
            raise reading
        return reading

    def close(self) -> None:
        """Read no more."""
        self._over.set()

    def _watch(self, monitor: ResourceMonitor) -> None:
        while not self._over.is_set():
            try:
                reading: Reading | Unreadable = monitor.read()
            except Unreadable as error:
                reading = error
            self._newest = self._clock(), reading
            self._over.wait(self._interval_s)
