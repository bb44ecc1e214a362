"""An accelerator's memory and utilisation: what is believed, and what a hanging driver costs."""

from __future__ import annotations

import math

import pytest

from sluice.worker.resources.accelerator import AcceleratorMonitor, PolledMonitor
from sluice.worker.resources.reading import MonitorError, ResourceSample
from tests.unit.polling import until
from tests.unit.worker.fake_accelerator import FakeAccelerator


def test_what_the_allocator_holds_for_its_next_tensors_is_not_in_use() -> None:
    reading = AcceleratorMonitor(FakeAccelerator(free=20, total=100, reusable=30, busy=0.4)).read()
    assert reading.memory is not None
    assert (reading.memory.ratio, reading.utilization) == (0.5, 0.4)


def test_a_driver_that_does_not_tell_its_utilisation_has_no_say_in_it() -> None:
    reading = AcceleratorMonitor(FakeAccelerator()).read()
    assert reading.memory is not None
    assert (reading.memory.ratio, reading.utilization) == (0.25, None)


@pytest.mark.parametrize(
    "numbers",
    [
        {"free": 0, "total": 0},
        {"free": -1},
        {"free": 101},
        {"free": math.nan},
        {"total": math.nan},
        {"total": math.inf},
        {"reusable": -1},
        {"reusable": math.nan},
        {"busy": math.nan},
        {"busy": -0.1},
        {"busy": 57.0},
    ],
    ids=str,
)
def test_nonsense_is_unknown(numbers: dict[str, float]) -> None:
    with pytest.raises(MonitorError):
        AcceleratorMonitor(FakeAccelerator(**numbers)).read()


def test_a_driver_that_fails_is_unknown() -> None:
    accelerator = FakeAccelerator()
    accelerator.fault = RuntimeError("Xid 79: the GPU has fallen off the bus")
    with pytest.raises(MonitorError, match="fallen off the bus"):
        AcceleratorMonitor(accelerator).read()


def is_read(monitor: PolledMonitor) -> bool:
    try:
        return monitor.read().memory is not None
    except MonitorError:
        return False


async def test_in_the_background_the_newest_reading_is_given_until_it_is_too_old() -> None:
    accelerator = FakeAccelerator()
    now = [0.0]
    monitor = PolledMonitor(lambda: AcceleratorMonitor(accelerator), interval_s=0.005, clock=lambda: now[0])
    accelerator.answers.clear()
    with pytest.raises(MonitorError, match="nothing has been read yet"):
        monitor.read()
    accelerator.answers.set()
    await until(lambda: is_read(monitor))
    accelerator.free = 10
    await until(lambda: monitor.read() == AcceleratorMonitor(accelerator).read())
    accelerator.answers.clear()
    looks = accelerator.looks
    await until(lambda: accelerator.looks > looks)
    now[0] = 1.9
    assert is_read(monitor)
    now[0] = 2.1
    with pytest.raises(MonitorError, match=r"2\.1 s old"):
        monitor.read()
    accelerator.answers.set()
    await until(lambda: is_read(monitor))
    monitor.close()


async def test_a_fault_is_told_until_it_is_over() -> None:
    accelerator = FakeAccelerator()
    accelerator.fault = RuntimeError("busy")
    monitor = PolledMonitor(lambda: AcceleratorMonitor(accelerator), interval_s=0.005)
    assert not is_read(monitor)
    await until(lambda: accelerator.looks > 2)
    with pytest.raises(MonitorError, match="busy"):
        monitor.read()
    accelerator.fault = None
    await until(lambda: is_read(monitor))
    monitor.close()


async def test_what_is_closed_is_read_no_more() -> None:
    accelerator = FakeAccelerator()
    monitor = PolledMonitor(lambda: AcceleratorMonitor(accelerator), interval_s=0.005)
    await until(lambda: is_read(monitor))
    thread = monitor._thread
    monitor.close()
    await until(lambda: thread is not None and not thread.is_alive())


def test_without_an_accelerator_there_is_no_thread_and_no_say() -> None:
    monitor = PolledMonitor(lambda: None)
    assert monitor.read() == ResourceSample()
    assert monitor._thread is None


def test_an_accelerator_that_cannot_be_asked_for_is_unknown() -> None:
    def broken() -> AcceleratorMonitor:
        raise RuntimeError("no driver")

    with pytest.raises(MonitorError, match="no driver"):
        PolledMonitor(broken).read()


@pytest.mark.gpu
@pytest.mark.torch
def test_torch_tells_of_a_real_accelerator() -> None:
    import torch

    from sluice.engine.accelerator import TorchAccelerator, pick_device

    accelerator = TorchAccelerator(pick_device("auto"))
    monitor = AcceleratorMonitor(accelerator)
    before = monitor.read()
    held = torch.empty(1 << 28, dtype=torch.uint8, device=torch.accelerator.current_accelerator())
    during = monitor.read()
    del held
    after = monitor.read()
    assert before.memory is not None
    assert during.memory is not None
    assert after.memory is not None
    grown = during.memory.used_bytes - before.memory.used_bytes
    assert grown >= 1 << 28
    # Still in torch's cache, and counted as free.
    assert accelerator.reusable_bytes() >= 1 << 28
    assert during.memory.used_bytes - after.memory.used_bytes >= 1 << 28
