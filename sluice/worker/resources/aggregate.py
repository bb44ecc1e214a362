"""All resources of a worker in one reading: the busiest and the fullest of them."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

from sluice.worker.resources.reading import Memory, MonitorError, ResourceMonitor, ResourceSample

logger = logging.getLogger(__name__)


# The engine's busy share as a resource: how much of the last half second the device's thread computed.


WINDOW_S = 0.5
_SMALLEST_S = 0.05


class BusyRatio:
    """`busy_s` counts seconds of work since the start. However often it is read, the window is no shorter for it."""

    def __init__(self, busy_s: Callable[[], float], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._busy_s = busy_s
        self._clock = clock
        self._looks: deque[tuple[float, float]] = deque([(clock(), busy_s())])

    def read(self) -> ResourceSample:
        """Utilisation since the last look that is at least WINDOW_S old, or since the first; none before 50 ms."""
        now, busy_s = self._clock(), self._busy_s()
        while len(self._looks) > 1 and self._looks[1][0] <= now - WINDOW_S:
            self._looks.popleft()
        since, busy_then_s = self._looks[0]
        if now - self._looks[-1][0] >= _SMALLEST_S:
            self._looks.append((now, busy_s))
        elapsed_s = now - since
        if elapsed_s < _SMALLEST_S:
            return ResourceSample()
        return ResourceSample(utilization=min(1.0, max(0.0, (busy_s - busy_then_s) / elapsed_s)))


class ResourceAggregator:
    """`device` watches the accelerator; models live in its memory if it has any, else in the fullest of the others'.

    While it `writes`, what the driver says of its utilisation is nothing: one text of hundreds keeps it from idling.
    """

    def __init__(
        self,
        monitors: Sequence[ResourceMonitor],
        *,
        device: ResourceMonitor | None = None,
        writes: Callable[[], bool] = lambda: False,
    ) -> None:
        self._monitors = tuple(monitors)
        self._device = device
        self._writes = writes
        self._silent: dict[ResourceMonitor, str] = {}

    def read(self) -> ResourceSample:
        """The largest utilisation that is known, and the memory with the largest ratio.

        Memory is unknown while any monitor cannot be read: the unread one may be the full one. Utilisation is not, as
        the engine always counts its own.
        """
        every = self._monitors if self._device is None else (*self._monitors, self._device)
        readings = [self._look(monitor) for monitor in every]
        told = readings[:-1] if self._device is not None and self._writes() else readings
        busy = [one.utilization for one in told if one is not None and one.utilization is not None]
        return ResourceSample(utilization=max(busy, default=None), memory=_fullest(readings))

    def model_memory(self) -> Memory | None:
        """The memory in which models live; None while it is unknown."""
        if self._device is not None:
            reading = self._look(self._device)
            if reading is None:
                return None
            if reading.memory is not None:
                return reading.memory
        return _fullest([self._look(monitor) for monitor in self._monitors])

    def _look(self, monitor: ResourceMonitor) -> ResourceSample | None:
        try:
            reading = monitor.read()
        except MonitorError as error:
            if monitor not in self._silent:
                logger.warning("a resource cannot be read", extra={"why": str(error)})
            self._silent[monitor] = str(error)
            return None
        if self._silent.pop(monitor, None) is not None:
            logger.info("a resource can be read again", extra={"monitor": type(monitor).__name__})
        return reading


def _fullest(readings: Sequence[ResourceSample | None]) -> Memory | None:
    if None in readings:
        return None
    memories = [reading.memory for reading in readings if reading is not None and reading.memory is not None]
    return max(memories, key=lambda memory: memory.ratio, default=None)
