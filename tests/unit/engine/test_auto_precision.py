"""Which precision `auto` is: by what the device can compute and what fits, whatever the device is."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sluice.domain.errors import InvalidRequest
from sluice.engine.precision import auto as auto_precision
from sluice.engine.precision.auto import ACCELERATOR_ORDER, CPU_ORDER, WEIGHTS_SHARE, best_precision, choose
from tests.unit.worker.machine import cgroup, confine

pytestmark = pytest.mark.torch
SIZES = {"fp32": 400.0, "mixed": 200.0, "fp8": 110.0, "int4": 60.0}


def chosen(order: tuple[str, ...], can: set[str], room: float | None) -> str:
    return choose(order, can=can.__contains__, size_bytes=SIZES.__getitem__, room_bytes=room)


@pytest.mark.parametrize(
    ("order", "can", "room", "precision"),
    [
        # An accelerator with room for everything computes in half precision; fp32 is slower there.
        (ACCELERATOR_ORDER, {"mixed", "fp8", "int4"}, 10_000.0, "mixed"),
        (ACCELERATOR_ORDER, {"mixed"}, 10_000.0, "mixed"),
        # What does not fit makes room for the next.
        (ACCELERATOR_ORDER, {"mixed", "fp8", "int4"}, 250.0, "fp8"),
        (ACCELERATOR_ORDER, {"mixed", "fp8", "int4"}, 100.0, "int4"),
        (ACCELERATOR_ORDER, {"mixed", "int4"}, 250.0, "int4"),
        # Nothing fits: the smallest is tried, and what the device cannot do is never chosen.
        (ACCELERATOR_ORDER, {"mixed", "fp8", "int4"}, 10.0, "int4"),
        (ACCELERATOR_ORDER, {"mixed"}, 10.0, "mixed"),
        # A CPU is fastest in fp32.
        (CPU_ORDER, {"fp32", "mixed", "fp8", "int4"}, 10_000.0, "fp32"),
        (CPU_ORDER, {"fp32", "mixed"}, 300.0, "mixed"),
        # Nobody knows the room: the best that the device can do.
        (ACCELERATOR_ORDER, {"mixed", "fp8"}, None, "mixed"),
        (CPU_ORDER, {"fp32"}, None, "fp32"),
    ],
)
def test_the_best_that_the_device_can_do_and_that_leaves_room(
    order: tuple[str, ...], can: set[str], room: float | None, precision: str
) -> None:
    assert chosen(order, can, room) == precision


@given(
    st.permutations(sorted(SIZES)),
    st.sets(st.sampled_from(sorted(SIZES)), min_size=1),
    st.none() | st.floats(min_value=0, max_value=1_000),
)
def test_whatever_is_chosen_can_be_computed_and_nothing_better_would_have_fitted(
    order: list[str], can: set[str], room: float | None
) -> None:
    precision = chosen(tuple(order), can, room)
    assert precision in can
    before = [one for one in order[: order.index(precision)] if one in can]
    if room is not None:
        fits = SIZES[precision] <= WEIGHTS_SHARE * room
        assert all(SIZES[one] > WEIGHTS_SHARE * room for one in before)
        assert fits or SIZES[precision] == min(SIZES[one] for one in can)
    else:
        assert before == []


def test_a_device_that_can_do_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no precision"):
        chosen(CPU_ORDER, set(), 100.0)


def test_what_is_not_needed_to_decide_is_not_asked() -> None:
    asked: list[str] = []

    def can(precision: str) -> bool:
        asked.append(precision)
        return True

    assert choose(CPU_ORDER, can=can, size_bytes=SIZES.__getitem__, room_bytes=10_000.0) == "fp32"
    assert asked == ["fp32"]


def test_on_this_cpu_a_little_model_is_fp32(models: Path) -> None:
    assert best_precision(models / "support-intent-full", torch.device("cpu")) == "fp32"


@pytest.mark.parametrize(("limit", "precision"), [("max", "fp32"), ("3000000000", "fp32"), ("20000000", "mixed")])
def test_in_a_container_its_limit_counts_if_it_leaves_less_than_the_machine(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, precision: str
) -> None:
    root = cgroup(tmp_path / "root", max=f"{limit}\n", current="0\n", stat="")
    confine(monkeypatch, root, available=4_000_000_000)
    assert best_precision(models / "support-intent-full", torch.device("cpu")) == precision


def test_on_a_cpu_whose_memory_cannot_be_read_all_of_them_fit(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError("no /proc")

    monkeypatch.setattr(psutil, "virtual_memory", broken)
    assert best_precision(models / "support-intent-full", torch.device("cpu")) == "fp32"


def test_a_quantizer_that_a_device_lacks_is_no_choice(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(precision: str, device: torch.device) -> None:
        raise InvalidRequest(f"{device} cannot compute in {precision}", field="precision")

    monkeypatch.setattr(auto_precision, "quantizer_of", refuse)
    monkeypatch.setattr(auto_precision, "_room_of", lambda device: 1e6)
    # No precision fits; of those that it has, half precision is the smallest.
    assert best_precision(models / "support-intent-full", torch.device("xpu")) == "mixed"


def test_an_accelerator_whose_memory_nobody_counts_gets_the_best(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        def __init__(self, device: torch.device) -> None:
            raise RuntimeError("this device tells nothing")

    monkeypatch.setattr(auto_precision, "TorchAccelerator", Silent)
    assert best_precision(models / "support-intent-full", torch.device("xpu")) == "mixed"
