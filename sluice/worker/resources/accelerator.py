"""An accelerator as a resource: its memory, and its utilisation where the driver tells."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from sluice.worker.resources.reading import Memory, MonitorError, ResourceMonitor, ResourceSample

# A monitor that is read on a thread of its own: a driver that hangs makes its reading old, and holds up nobody.


INTERVAL_S = 0.1
STALE_S = 2.0


class PolledMonitor:
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
        self._newest: tuple[float, ResourceSample | MonitorError] | None = None

    def read(self) -> ResourceSample:
        """The newest reading, and nothing while there is no monitor. Raises Unreadable if it failed, or is too old."""
        if self._thread is None:
            try:
                monitor = self._source()
            except Exception as error:
                raise MonitorError(f"there is no monitor: {error}") from error
            if monitor is None:
                return ResourceSample()
            # The process may end while the driver hangs.
            self._thread = threading.Thread(target=self._watch, args=(monitor,), name="monitor", daemon=True)
            self._thread.start()
        if self._newest is None:
            raise MonitorError("nothing has been read yet")
        at, reading = self._newest
        age_s = self._clock() - at
        if age_s > self._stale_s:
            raise MonitorError(f"the newest reading is {age_s:.1f} s old")
        if isinstance(reading, MonitorError):
            raise reading
        return reading

    def close(self) -> None:
        """Read no more."""
        self._over.set()

    def _watch(self, monitor: ResourceMonitor) -> None:
        while not self._over.is_set():
            try:
                reading: ResourceSample | MonitorError = monitor.read()
            except MonitorError as error:
                reading = error
            self._newest = self._clock(), reading
            self._over.wait(self._interval_s)


class Accelerator(Protocol):
    """What a driver says. Every method may raise what it likes, say nonsense, or hang."""

    def memory_bytes(self) -> tuple[float, float]:
        """Free, and in all; other programs' use of the device counts as not free."""

    def reusable_bytes(self) -> float:
        """Held by this process's allocator and not in use: it needs no more of the driver for as much."""

    def utilization(self) -> float | None:
        """Share of the driver's last sample in which anything was computed, in [0, 1]; None: it does not tell."""


class AcceleratorMonitor:
    """Asks `accelerator`, and believes only what can be true."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator

    def read(self) -> ResourceSample:
        """Memory, and utilisation if it is told. Raises Unreadable."""
        try:
            free, total = self._accelerator.memory_bytes()
            reusable = self._accelerator.reusable_bytes()
            utilization = self._accelerator.utilization()
        except Exception as error:
            raise MonitorError(f"the accelerator: {type(error).__name__}: {error}") from error
        if not (0 <= free <= total and reusable >= 0):
            raise MonitorError(f"the accelerator has {free} of {total} bytes free, and {reusable} to use again")
        used = max(0.0, total - free - reusable)
        return ResourceSample(utilization=utilization, memory=Memory(used_bytes=used, limit_bytes=total))
