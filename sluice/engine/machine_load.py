"""How busy a machine is while something is measured on it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

PRESSURE = Path("/proc/pressure/cpu")


class StallMeter:
    """The share of the time since it was made in which a task waited for a processor, by Linux's pressure counter.

    Where there is no such counter, the load average beyond the processors, which is cruder and counts ourselves.
    """

    def __init__(self, pressure: Path = PRESSURE, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pressure = pressure
        self._clock = clock
        self._begun_at = clock()
        self._before_us = self._total_us()

    def share(self) -> float:
        """In [0, 1]."""
        after_us, elapsed_s = self._total_us(), self._clock() - self._begun_at
        if self._before_us is None or after_us is None or elapsed_s <= 0.0:
            return min(1.0, max(0.0, os.getloadavg()[0] / (os.cpu_count() or 1) - 1.0))
        return min(1.0, max(0.0, (after_us - self._before_us) / 1e6 / elapsed_s))

    def _total_us(self) -> int | None:
        try:
            line = self._pressure.read_text(encoding="ascii").splitlines()[0]
            return int(line.rpartition("total=")[2])
        except (OSError, ValueError, IndexError):
            return None
