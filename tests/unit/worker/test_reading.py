"""Readings are valid or they are none."""

from __future__ import annotations

import math

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.worker.resources.memory import HostMemory
from sluice.worker.resources.reading import Memory, MonitorError, ResourceSample
from tests.unit.worker.machine import HostNumbers

anything = st.floats() | st.integers(-(2**70), 2**70)


@pytest.mark.parametrize(
    ("used", "limit"),
    [(0, 0), (5, 0), (1, -1), (-1, 10), (math.nan, 10), (1, math.nan), (math.inf, 10), (1, math.inf)],
)
def test_what_cannot_be_memory_is_unknown(used: float, limit: float) -> None:
    with pytest.raises(MonitorError):
        Memory(used_bytes=used, limit_bytes=limit)


@pytest.mark.parametrize("utilization", [-0.01, 1.01, math.nan, math.inf, -math.inf])
def test_what_cannot_be_a_share_is_unknown(utilization: float) -> None:
    with pytest.raises(MonitorError):
        ResourceSample(utilization=utilization)


@given(anything, anything)
def test_a_memory_that_is_believed_has_a_ratio(used: float, limit: float) -> None:
    try:
        memory = Memory(used_bytes=used, limit_bytes=limit)
    except MonitorError:
        return
    assert 0.0 <= memory.ratio <= 1.0


def test_what_is_above_its_limit_is_full() -> None:
    assert Memory(used_bytes=12, limit_bytes=10).ratio == 1.0


@pytest.mark.parametrize(("available", "ratio"), [(100, 0.0), (25, 0.75), (0, 1.0)])
def test_a_host_is_as_full_as_the_kernel_says(monkeypatch: pytest.MonkeyPatch, available: int, ratio: float) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: HostNumbers(100, available))
    memory = HostMemory().read().memory
    assert memory is not None
    assert memory.ratio == pytest.approx(ratio)


@pytest.mark.parametrize("numbers", [HostNumbers(0, 0), HostNumbers(100, 101), HostNumbers(100, math.nan)])
def test_a_host_that_talks_nonsense_is_unknown(monkeypatch: pytest.MonkeyPatch, numbers: HostNumbers) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: numbers)
    with pytest.raises(MonitorError):
        HostMemory().read()


def test_a_host_that_does_not_tell_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> HostNumbers:
        raise OSError("no /proc")

    monkeypatch.setattr(psutil, "virtual_memory", broken)
    with pytest.raises(MonitorError, match="no /proc"):
        HostMemory().read()


def test_this_host_can_be_read() -> None:
    memory = HostMemory().read().memory
    assert memory is not None
    assert 0 < memory.ratio <= 1
