"""Graphs, clocks and memory of a device that is played: what is asked of torch, in which order."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.device import WARM_UP_RUNS, describe, milliseconds, pick
from benchmarks.gpu.graph import can_capture
from benchmarks.gpu.meter import DeviceMeter

pytestmark = pytest.mark.torch
DEVICE = torch.device("xpu", 0)
GIB = 1 << 30


class FakeEvent:
    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing
        self.at = 0.0

    def record(self) -> None:
        FakeEvent.now += 12.0
        self.at = FakeEvent.now

    def synchronize(self) -> None:
        """Nothing is waited for."""

    def elapsed_time(self, end: FakeEvent) -> float:
        return end.at - self.at

    now = 0.0


class FakeStream:
    def wait_stream(self, other: FakeStream) -> None:
        """Nothing is waited for."""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the played device was told to do."""
    told: list[str] = []
    module = SimpleNamespace(
        Event=FakeEvent,
        Stream=lambda device: FakeStream(),
        current_stream=lambda device: FakeStream(),
        stream=lambda stream: nullcontext(),
        CUDAGraph=lambda: SimpleNamespace(replay=lambda: told.append("replay")),
        graph=lambda graph: nullcontext(told.append("capture")),
        get_device_name=lambda device: "an accelerator",
        mem_get_info=lambda device: (1 * GIB, 4 * GIB),
        set_per_process_memory_fraction=lambda share, device: told.append(f"fraction {share:.2f}"),
    )
    monkeypatch.setattr(torch, "get_device_module", lambda device=None: module)
    for name, value in {
        "synchronize": None,
        "empty_cache": None,
        "reset_peak_memory_stats": None,
        "memory_allocated": 10,
        "max_memory_allocated": 30,
        "max_memory_reserved": 40,
        "current_device_index": 0,
    }.items():
        monkeypatch.setattr(torch.accelerator, name, lambda *_, value=value: value)
    return told


def test_a_step_is_warm_before_it_is_captured_and_never_launched_again(told: list[str]) -> None:
    bench = Bench(DEVICE)
    step = bench.captured(lambda: told.append("step"))
    assert told == [*["step"] * WARM_UP_RUNS, "capture", "step", "replay"]
    step()
    assert told[-2:] == ["replay", "replay"]


def test_without_graphs_a_step_is_launched_every_time(told: list[str]) -> None:
    step = Bench(DEVICE, graphs=False).captured(lambda: told.append("step"))
    step()
    assert told == ["step"] * (WARM_UP_RUNS + 1)


def test_graphs_are_there_where_torch_has_them(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_capture(DEVICE)
    monkeypatch.setattr(torch, "get_device_module", lambda device=None: SimpleNamespace())
    assert not can_capture(DEVICE)


def test_time_is_the_devices_own_and_of_one_repeat(told: list[str]) -> None:
    assert milliseconds(lambda: told.append("step"), DEVICE, repeats=4) == 3.0
    assert told == ["step"] * 4


def test_rounds_are_taken_in_turn(told: list[str]) -> None:
    steps = {"a": lambda: told.append("a"), "b": lambda: told.append("b")}
    rounds = Bench(DEVICE).time_in_turn(steps, repeats=1)
    assert told == list("abbaabbaab")
    assert rounds.medians() == {"a": 12.0, "b": 12.0}


def test_memory_is_the_allocators_and_a_limit_is_lifted_behind_it(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    linear, ones = torch.nn.Linear, torch.ones
    monkeypatch.setattr(torch.nn, "Linear", lambda *sizes, device, dtype: linear(*sizes, dtype=dtype))
    monkeypatch.setattr(torch, "ones", lambda *sizes, device, dtype: ones(*sizes, dtype=dtype))
    meter = DeviceMeter(DEVICE)
    assert meter.allocated() == 10
    assert meter.peak(lambda: told.append("run")) == (30, 40)
    with pytest.raises(torch.OutOfMemoryError), meter.limited(1 * GIB):
        raise torch.OutOfMemoryError("full")
    assert told == ["run", "fraction 0.25", "fraction 1.00"]


def test_a_device_is_named_with_its_number_and_its_memory(told: list[str]) -> None:
    assert pick("xpu") == DEVICE
    assert pick("xpu:1").index == 1
    facts: dict[str, Any] = describe(DEVICE)
    assert (facts["device"], facts["accelerator"], facts["accelerator_memory_gib"]) == ("xpu", "an accelerator", 4.0)
