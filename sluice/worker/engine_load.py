"""The engine's busy share as a resource: how much of the last half second the device's thread computed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from sluice.worker.resources.reading import Reading

WINDOW_S = 0.5
_SMALLEST_S = 0.05


class EngineLoad:
    """`busy_s` counts seconds of work since the start. However often it is read, the window is no shorter for it."""

    def __init__(self, busy_s: Callable[[], float], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._busy_s = busy_s
        self._clock = clock
        self._looks: deque[tuple[float, float]] = deque([(clock(), busy_s())])

    def read(self) -> Reading:
        """Utilisation since the last look that is at least WINDOW_S old, or since the first; none before 50 ms."""
        now, busy_s = self._clock(), self._busy_s()
        while len(self._looks) > 1 and self._looks[1][0] <= now - WINDOW_S:
            self._looks.popleft()
        since, busy_then_s = self._looks[0]
        if now - self._looks[-1][0] >= _SMALLEST_S:
            self._looks.append((now, busy_s))
        elapsed_s = now - since
        if elapsed_s < _SMALLEST_S:
            return Reading()
        return Reading(utilization=min(1.0, max(0.0, (busy_s - busy_then_s) / elapsed_s)))
