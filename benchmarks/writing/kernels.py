"""What a device computes within a while: torch's profile of its kernels, whoever launched them."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

LISTED = 20
_NAME_LENGTH = 90


def kernels(for_s: float) -> dict[str, Any]:
    """The share of so many seconds in which the device was at work, and the kernels that took most; {} on a CPU."""
    if not torch.accelerator.is_available():
        return {}
    activity = ProfilerActivity.XPU if torch.accelerator.current_accelerator().type == "xpu" else ProfilerActivity.CUDA
    with profile(activities=[activity]) as seen:
        begun_at = time.perf_counter()
        time.sleep(for_s)
        elapsed_ms = 1000 * (time.perf_counter() - begun_at)
    spent_ms: Counter[str] = Counter()
    runs: Counter[str] = Counter()
    for event in seen.events():
        if event.device_type is not DeviceType.CPU:
            spent_ms[event.name[:_NAME_LENGTH]] += event.time_range.elapsed_us() / 1000
            runs[event.name[:_NAME_LENGTH]] += 1
    return {
        "elapsed_ms": round(elapsed_ms, 1),
        "busy": round(sum(spent_ms.values()) / elapsed_ms, 3),
        "kernels": [
            {"kernel": name, "ms": round(ms, 2), "runs": runs[name]} for name, ms in spent_ms.most_common(LISTED)
        ],
    }
