"""A worker's reading of itself."""

from __future__ import annotations

import asyncio
from collections import namedtuple
from pathlib import Path

import psutil
import pytest

from sluice.worker.monitor import Monitor, cgroup_memory_ratio, memory_ratio
from tests.unit.worker.bench import HELD, bench, work

Memory = namedtuple("Memory", ["total", "available"])


def cgroup(directory: Path, **files: str) -> Path:
    for name, content in files.items():
        (directory / f"memory.{name}").write_text(content, encoding="ascii")
    return directory


@pytest.mark.parametrize(
    ("files", "ratio"),
    [
        ({"max": "1000\n", "current": "900\n", "stat": "anon 500\ninactive_file 400\n"}, 0.5),
        ({"max": "1000\n", "current": "900\n", "stat": "anon 900\n"}, 0.9),
        ({"max": "1000\n", "current": "1200\n", "stat": "inactive_file 0\n"}, 1.0),
        ({"max": "1000\n", "current": "100\n", "stat": "inactive_file 400\n"}, 0.0),
        ({"max": "max\n", "current": "900\n", "stat": "inactive_file 0\n"}, 0.0),
        ({"max": "0\n", "current": "900\n", "stat": "inactive_file 0\n"}, 1.0),
        ({"max": "1000\n", "current": "900\n"}, 0.0),
        ({"max": "what?\n", "current": "900\n", "stat": "inactive_file 0\n"}, 0.0),
        ({"max": "1000\n", "current": "what?\n", "stat": "inactive_file 0\n"}, 0.0),
        ({}, 0.0),
    ],
    ids=[
        "reclaimable",
        "no-file-pages",
        "over",
        "all-reclaimable",
        "no-limit",
        "limit-zero",
        "no-stat",
        "odd-limit",
        "garbage",
        "no-cgroup",
    ],
)
def test_a_control_groups_memory_counts_without_what_can_be_reclaimed(
    tmp_path: Path, files: dict[str, str], ratio: float
) -> None:
    assert cgroup_memory_ratio(cgroup(tmp_path, **files)) == pytest.approx(ratio)


@pytest.mark.parametrize(("host_available", "larger"), [(90, 0.5), (20, 0.8)])
def test_the_larger_of_control_group_and_host_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host_available: int, larger: float
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(100, host_available))
    group = cgroup(tmp_path, max="1000", current="500", stat="inactive_file 0")
    assert memory_ratio(group) == pytest.approx(larger)


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def test_utilization_is_the_busy_share_since_the_report_before() -> None:
    clock = Clock()
    async with bench(clock=clock) as made:
        monitor = Monitor(
            device=made.device, catalog=made.catalog, inflight=lambda: 5, draining=lambda: True, clock=clock
        )
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
        assert report.memory is not None
        assert 0 < report.memory <= 1
        clock.now += 1.0
        assert (monitor.report().utilization, monitor.report().requests_per_second) == (0.0, 0.0)


async def test_a_report_right_after_another_repeats_its_reading() -> None:
    clock = Clock()
    async with bench(clock=clock) as made:
        monitor = Monitor(
            device=made.device, catalog=made.catalog, inflight=lambda: 0, draining=lambda: False, clock=clock
        )
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
