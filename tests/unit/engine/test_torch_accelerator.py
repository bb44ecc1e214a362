"""How an accelerator is read through torch, whichever it is: a fake one, with the module of torch that a test wants."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sluice.engine import accelerator
from sluice.engine.accelerator import TorchAccelerator, device_name

pytestmark = pytest.mark.torch
DEVICE = torch.device("xpu", 1)
ROOT = Path(__file__).resolve().parents[3]


class PlugIn:
    """An entry point that loads `tell`."""

    def __init__(self, tell: Callable[[int], float]) -> None:
        self._tell = tell

    def load(self) -> Callable[[int], float]:
        return self._tell


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The device's module of torch, empty at first; memory is 100 bytes, 30 of them free and 10 in torch's cache."""
    made = SimpleNamespace()
    memory = {
        "get_memory_info": lambda device: (30, 100),
        "memory_reserved": lambda device: 50,
        "memory_allocated": lambda device: 40,
    }
    for name, tell in memory.items():
        monkeypatch.setattr(torch.accelerator, name, tell)
    monkeypatch.setattr(torch, "get_device_module", lambda device=None: made)
    return made


def with_plug_ins(monkeypatch: pytest.MonkeyPatch, **tellers: Callable[[int], float]) -> None:
    def entry_points(*, group: str, name: str) -> list[PlugIn]:
        assert group == "sluice.utilization"
        return [PlugIn(tellers[name])] if name in tellers else []

    monkeypatch.setattr(accelerator, "entry_points", entry_points)


def test_memory_is_what_torch_counts(module: SimpleNamespace) -> None:
    made = TorchAccelerator(DEVICE)
    assert (made.memory_bytes(), made.reusable_bytes(), made.room_bytes()) == ((30, 100), 10.0, 40.0)


def test_memory_that_is_shared_with_the_cpu_is_what_the_system_recommends(module: SimpleNamespace) -> None:
    module.recommended_max_memory = lambda: 80
    module.driver_allocated_memory = lambda: 20
    assert TorchAccelerator(DEVICE).memory_bytes() == (60, 80)
    module.driver_allocated_memory = lambda: 90
    assert TorchAccelerator(DEVICE).memory_bytes() == (0, 80)


def test_who_does_not_tell_utilisation_has_no_say_in_it(module: SimpleNamespace) -> None:
    assert TorchAccelerator(DEVICE).utilization() is None


def test_a_vendors_library_that_is_missing_is_no_failure(module: SimpleNamespace) -> None:
    def missing(device: Any) -> int:
        raise ModuleNotFoundError("pynvml module not found, please install nvidia-ml-py")

    module.utilization = missing
    assert TorchAccelerator(DEVICE).utilization() is None


def test_utilisation_is_asked_of_the_devices_own_module(module: SimpleNamespace) -> None:
    module.utilization = lambda device: 42 if device == DEVICE else 0
    assert TorchAccelerator(DEVICE).utilization() == 0.42


def test_a_plug_in_for_the_type_of_device_is_asked_first(
    module: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    module.utilization = lambda device: 42
    with_plug_ins(monkeypatch, xpu=lambda index: 0.1 * index, hpu=lambda index: 1.0)
    assert TorchAccelerator(DEVICE).utilization() == pytest.approx(0.1)
    assert TorchAccelerator(torch.device("mtia", 0)).utilization() == 0.42


def test_a_driver_that_fails_later_is_told_to_whoever_asks(module: SimpleNamespace) -> None:
    answers: list[Any] = [42, RuntimeError("the device fell off the bus")]

    def utilization(device: Any) -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return int(answer)

    module.utilization = utilization
    made = TorchAccelerator(DEVICE)
    with pytest.raises(RuntimeError, match="fell off the bus"):
        made.utilization()


def test_a_device_is_called_what_it_calls_itself_and_else_by_its_type(module: SimpleNamespace) -> None:
    assert device_name("xpu") == "xpu"
    module.get_device_name = lambda: "Abacus 9000"
    assert device_name("xpu") == "Abacus 9000"


@pytest.mark.parametrize("part", ["sluice/engine", "sluice/worker", "services"])
def test_nothing_that_serves_names_a_kind_of_accelerator(part: str) -> None:
    kinds = ("cuda", "xpu", "hpu", "mps", "hip")
    # The generation engine hands on what transformers can do on which kind.
    files = [file for file in (ROOT / part).rglob("*.py") if "generation" not in file.parts]
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    assert len(texts) > 10
    named = [
        file for file, text in texts.items() if any(f"torch.{kind}" in text or f'"{kind}"' in text for kind in kinds)
    ]
    assert named == []
