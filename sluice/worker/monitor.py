"""A worker's reading of itself: how busy its device is, how full its memory, what it holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psutil

from sluice.fleet import Report
from sluice.worker.catalog import Catalog
from sluice.worker.device import Device

CGROUP = Path("/sys/fs/cgroup")
_SMALLEST_INTERVAL_S = 0.05


class Monitor:
    """Makes reports. Utilisation is the busy share since the report before."""

    def __init__(
        self,
        *,
        device: Device,
        catalog: Catalog,
        inflight: Callable[[], int],
        draining: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device = device
        self._catalog = catalog
        self._inflight = inflight
        self._draining = draining
        self._clock = clock
        self._read_at = clock()
        self._busy_s = device.busy_s
        self._utilization: float | None = None
        self._items = device.items
        self._rate = 0.0

    def report(self) -> Report:
        """The newest reading."""
        now = self._clock()
        elapsed_s = now - self._read_at
        if elapsed_s >= _SMALLEST_INTERVAL_S:
            busy_s, items = self._device.busy_s, self._device.items
            self._utilization = min(1.0, max(0.0, (busy_s - self._busy_s) / elapsed_s))
            self._rate = (items - self._items) / elapsed_s
            self._busy_s, self._items, self._read_at = busy_s, items, now
        return Report(
            measured_at=datetime.now(UTC),
            utilization=self._utilization,
            memory=memory_ratio(),
            queue_delay_s=None,
            hot_queued=0,
            cold_queued=0,
            inflight=self._inflight(),
            deadline_miss_ratio=None,
            variants=self._catalog.variants(),
            draining=self._draining(),
            requests_per_second=self._rate,
        )


def memory_ratio(cgroup: Path = CGROUP) -> float:
    """Memory in use over its limit, in [0, 1]: the larger of the control group's (version 2) and the host's."""
    host = psutil.virtual_memory()
    return max(cgroup_memory_ratio(cgroup), 1.0 - host.available / host.total)


def cgroup_memory_ratio(cgroup: Path) -> float:
    """The control group's memory without reclaimable file pages, over its limit; 0 where there is no limit."""
    try:
        limit_text = (cgroup / "memory.max").read_text().strip()
        limit = int(limit_text) if limit_text != "max" else None
        used = int((cgroup / "memory.current").read_text())
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return 0.0
    if limit is None:
        return 0.0
    return min(1.0, max(0, used - int(stat.get("inactive_file", 0))) / max(1, limit))
