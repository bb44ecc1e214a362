"""A worker's reading of itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sluice.worker.models.swap_controller import SwapController
from sluice.worker.models.swap_policy import FULL_SERVICE
from sluice.worker.resources.aggregate import BusyRatio, ResourceAggregator
from sluice.worker.resources.reading import Memory, MonitorError, ResourceSample
from sluice.worker.server.reporter import HealthReporter
from tests.unit.worker.bench import HELD, Bench, bench, work
from tests.unit.worker.ram import COPIES, FP8_BYTES, FULL, FULL_BYTES, LIGHT, LIMIT, LOWER, stage


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Half:
    """A memory that is half full, or cannot be read."""

    broken = False

    def read(self) -> ResourceSample:
        if self.broken:
            raise MonitorError("broken")
        return ResourceSample(memory=Memory(used_bytes=5, limit_bytes=10))


def monitor_of(made: Bench, clock: Clock, swapper: SwapController, memory: Half | None = None) -> HealthReporter:
    load = BusyRatio(lambda: made.device.busy_s, clock=clock)
    return HealthReporter(
        device=made.device,
        catalog=made.catalog,
        resources=ResourceAggregator([load, memory or Half()]),
        swapper=swapper,
        inflight=lambda: 5,
        draining=lambda: True,
        clock=clock,
    )


def no_models(made: Bench) -> SwapController:
    return SwapController(made.catalog, wish=lambda: FULL_SERVICE, memory=lambda: None, ceiling=0.92, light_budget=0.05)


async def test_a_report_tells_how_busy_the_device_was_since_the_one_before() -> None:
    clock = Clock()
    async with bench(clock=clock) as made:
        monitor = monitor_of(made, clock, no_models(made))
        assert monitor.report().utilization is None
        clock.now += 2.0
        assert monitor.report().utilization == 0.0
        made.backend.go_on.clear()
        one = work("a", "b", "c")
        made.device.submit(one)
        await made.begun()
        clock.now += 1.0
        made.backend.go_on.set()
        await asyncio.wait_for(one.done, 20)
        clock.now += 3.0
        report = monitor.report()
        assert (report.utilization, report.requests_per_second) == (0.25, 0.75)
        assert (report.inflight, report.draining) == (5, True)
        assert [variant.id for variant in report.variants] == [HELD]
        assert (report.memory, report.full_reload_ratio) == (0.5, None)
        clock.now += 1.0
        assert (monitor.report().utilization, monitor.report().requests_per_second) == (0.0, 0.0)


async def test_a_report_right_after_another_repeats_its_reading() -> None:
    clock = Clock()
    async with bench(clock=clock) as made:
        monitor = monitor_of(made, clock, no_models(made))
        made.backend.go_on.clear()
        one = work("a")
        made.device.submit(one)
        await made.begun()
        clock.now += 1.0
        # A batch that still runs counts, or a device that is busy for long would look idle.
        assert monitor.report().utilization == 1.0
        clock.now += 0.001
        assert monitor.report().utilization == 1.0
        made.backend.go_on.set()
        await asyncio.wait_for(one.done, 20)


async def test_memory_that_cannot_be_read_is_unknown() -> None:
    clock, memory = Clock(), Half()
    async with bench(clock=clock) as made:
        monitor = monitor_of(made, clock, no_models(made), memory)
        memory.broken = True
        clock.now += 1.0
        report = monitor.report()
        assert (report.memory, report.utilization) == (None, 0.0)


async def test_a_lightened_worker_reports_what_its_full_model_would_take(tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        monitor = monitor_of(made.bench, Clock(), made.swapper)
        assert monitor.report().full_reload_ratio is None
        await made.settle(COPIES)
        report = monitor.report()
        assert report.full_reload_ratio == FULL_BYTES / LIMIT
        assert [variant.id for variant in report.variants] == [LIGHT]
        await made.settle(FULL_SERVICE)
        assert [variant.id for variant in monitor.report().variants] == [FULL]


async def test_what_a_lower_precision_would_free_and_what_goes_wrong_with_it_is_reported(tmp_path: Path) -> None:
    async with stage(tmp_path, has_copy=False, lower="fp8") as made:
        monitor = monitor_of(made.bench, Clock(), made.swapper)
        report = monitor.report()
        assert (report.lowering_ratio, report.swap_trouble) == ((FULL_BYTES - FP8_BYTES) / LIMIT, "")
        made.faults["full in fp8"] = RuntimeError("no such kernel")
        await made.settle(LOWER)
        report = monitor.report()
        # Nothing is promised of what has just failed.
        assert (report.lowering_ratio, report.swap_trouble) == (
            None,
            "load fp8 of m: full cannot be loaded: no such kernel",
        )
