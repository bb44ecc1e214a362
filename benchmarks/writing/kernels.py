"""What a device computes within a while: torch's profile of its kernels, whoever launched them."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

LISTED = 20
_NAME_LENGTH = 90


def kernels(for_s: float) -> dict[str, Any]:
    """The share of so many seconds in which the device was at work, and the kernels that took most; {} on a CPU."""
    if not torch.accelerator.is_available():
        return {}
    kind = ProfilerActivity.XPU if torch.accelerator.current_accelerator().type == "xpu" else ProfilerActivity.CUDA
    # Without the CPU's, its calls of the device's library are taken for work of the device.
    with profile(activities=[ProfilerActivity.CPU, kind]) as seen:
        begun_at = time.perf_counter()
        time.sleep(for_s)
        elapsed_ms = 1000 * (time.perf_counter() - begun_at)
    spent = {one.key: (one.self_device_time_total / 1000, one.count) for one in seen.key_averages()}
    longest = sorted(spent.items(), key=lambda item: -item[1][0])[:LISTED]
    return {
        "elapsed_ms": round(elapsed_ms, 1),
        "busy": round(sum(ms for ms, _ in spent.values()) / elapsed_ms, 3),
        "kernels": [{"kernel": name[:_NAME_LENGTH], "ms": round(ms, 2), "runs": runs} for name, (ms, runs) in longest],
    }
