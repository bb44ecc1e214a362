"""The device that is measured: which it is, and its clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

WARM_UP_RUNS = 3


def pick(name: str) -> torch.device:
    """The device that `name` means; `auto` is the accelerator if torch sees one, else the CPU."""
    accelerator = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    device = accelerator if name == "auto" else torch.device(name)
    if device.type == "cpu" or device.index is not None:
        return device
    return torch.device(device.type, torch.accelerator.current_device_index())


def describe(device: torch.device) -> dict[str, Any]:
    """What torch tells of the device, as far as it does."""
    told: dict[str, Any] = {"device": device.type}
    if device.type == "cpu":
        return told
    module = torch.get_device_module(device)
    if hasattr(module, "get_device_name"):
        told["accelerator"] = module.get_device_name(device)
    if hasattr(module, "mem_get_info"):
        told["accelerator_memory_gib"] = round(module.mem_get_info(device)[1] / 2**30, 1)
    told["runtime"] = torch.version.cuda or torch.version.hip or getattr(torch.version, "xpu", None)
    return told


def milliseconds(step: Callable[[], object], device: torch.device, *, repeats: int) -> float:
    """What one of `repeats` of `step` took, by the device's own clock: its waits for the program count."""
    if device.type == "cpu":
        begun_at = time.perf_counter()
        for _ in range(repeats):
            step()
        return (time.perf_counter() - begun_at) * 1000 / repeats
    begun, ended = (torch.get_device_module(device).Event(enable_timing=True) for _ in range(2))
    torch.accelerator.synchronize(device)
    begun.record()
    for _ in range(repeats):
        step()
    ended.record()
    ended.synchronize()
    return float(begun.elapsed_time(ended)) / repeats


def warm(step: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """`step`, behind as many runs as kernels take to be chosen."""
    for _ in range(WARM_UP_RUNS):
        step()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return step
