"""All resources in one reading."""

from __future__ import annotations

import logging

import pytest

from sluice.worker.resources.aggregate import ResourceAggregator
from sluice.worker.resources.reading import Memory, MonitorError, ResourceSample


class Told:
    """A monitor that says what it was told to, or that it cannot."""

    def __init__(self, *, utilization: float | None = None, memory: float | None = None) -> None:
        held = None if memory is None else Memory(used_bytes=memory * 100, limit_bytes=100)
        self.reading: ResourceSample | None = ResourceSample(utilization=utilization, memory=held)

    def read(self) -> ResourceSample:
        if self.reading is None:
            raise MonitorError("broken")
        return self.reading


def broken() -> Told:
    monitor = Told()
    monitor.reading = None
    return monitor


def ratio(memory: Memory | None) -> float | None:
    return None if memory is None else memory.ratio


@pytest.mark.parametrize(
    ("engine", "device", "busiest"), [(0.2, 0.9, 0.9), (0.9, 0.2, 0.9), (0.5, None, 0.5), (None, None, None)]
)
def test_the_busiest_counts(engine: float | None, device: float | None, busiest: float | None) -> None:
    resources = ResourceAggregator([Told(utilization=engine)], device=Told(utilization=device))
    assert resources.read().utilization == busiest


def test_the_fullest_memory_counts_and_models_live_in_the_devices() -> None:
    resources = ResourceAggregator([Told(memory=0.7), Told(memory=0.6)], device=Told(memory=0.4))
    assert ratio(resources.read().memory) == 0.7
    assert ratio(resources.model_memory()) == 0.4


def test_without_a_device_of_their_own_models_live_in_the_fullest_memory() -> None:
    for device in (None, Told()):
        resources = ResourceAggregator([Told(memory=0.7), Told(memory=0.6), Told()], device=device)
        assert ratio(resources.model_memory()) == 0.7


def test_memory_is_unknown_while_any_part_is_and_the_engine_goes_on_counting() -> None:
    for monitors, device in (([Told(utilization=0.3), broken()], None), ([Told(utilization=0.3)], broken())):
        reading = ResourceAggregator([*monitors, Told(memory=0.1)], device=device).read()
        assert (reading.utilization, reading.memory) == (0.3, None)


def test_what_models_live_in_is_unknown_with_their_device_and_not_with_the_host() -> None:
    assert ResourceAggregator([Told(memory=0.1)], device=broken()).model_memory() is None
    assert ratio(ResourceAggregator([broken()], device=Told(memory=0.2)).model_memory()) == 0.2
    assert ResourceAggregator([broken(), Told(memory=0.1)]).model_memory() is None


def test_a_resource_that_falls_silent_is_logged_once_and_once_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monitor = Told(memory=0.5)
    resources = ResourceAggregator([monitor])
    reading, monitor.reading = monitor.reading, None
    for _ in range(3):
        assert resources.read().memory is None
    monitor.reading = reading
    for _ in range(3):
        assert ratio(resources.read().memory) == 0.5
    assert [record.message for record in caplog.records] == [
        "a resource cannot be read",
        "a resource can be read again",
    ]


def test_a_driver_says_nothing_of_how_full_a_device_is_that_writes() -> None:
    resources = ResourceAggregator([Told(utilization=0.1)], device=Told(utilization=1.0), writes=lambda: True)
    assert resources.read().utilization == 0.1
