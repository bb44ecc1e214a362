"""A worker's report of itself: how busy and how full its resources are, and what it holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from sluice.control.degradation.report import Report
from sluice.worker.executor import DeviceExecutor
from sluice.worker.models.registry import ModelRegistry
from sluice.worker.models.swap_controller import SwapController
from sluice.worker.resources.aggregate import ResourceAggregator

_SMALLEST_INTERVAL_S = 0.05


class HealthReporter:
    """Makes reports, however often they are asked for."""

    def __init__(
        self,
        *,
        device: DeviceExecutor,
        catalog: ModelRegistry,
        resources: ResourceAggregator,
        swapper: SwapController,
        inflight: Callable[[], int],
        draining: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device = device
        self._catalog = catalog
        self._resources = resources
        self._swapper = swapper
        self._inflight = inflight
        self._draining = draining
        self._clock = clock
        self._read_at = clock()
        self._items = self._ended()
        self._rate = 0.0

    def report(self) -> Report:
        """The newest reading."""
        now = self._clock()
        elapsed_s = now - self._read_at
        if elapsed_s >= _SMALLEST_INTERVAL_S:
            items = self._ended()
            self._rate = (items - self._items) / elapsed_s
            self._items, self._read_at = items, now
        reading = self._resources.read()
        return Report(
            measured_at=datetime.now(UTC),
            utilization=reading.utilization,
            memory=reading.memory.ratio if reading.memory is not None else None,
            queue_delay_s=None,
            hot_queued=0,
            cold_queued=0,
            inflight=self._inflight(),
            deadline_miss_ratio=None,
            variants=self._catalog.variants(),
            draining=self._draining(),
            requests_per_second=self._rate,
            full_reload_ratio=self._swapper.full_reload_ratio(),
            lowering_ratio=self._swapper.lowering_ratio(),
            swap_trouble=self._swapper.trouble,
        )

    def _ended(self) -> int:
        return self._device.items + self._catalog.writers.texts
