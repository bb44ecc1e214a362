"""What a measurement was taken on: the facts of the machine, and the versions of what was measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from sluice.runtime.cpu import CPU_INFO, granted_cores, read_cpu_info

# What int8 and bf16 kernels choose their instructions by.
FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimddp",
    "i8mm",
    "bf16",
)


def machine(cpu_info: Path = CPU_INFO) -> dict[str, Any]:
    """The processor, those of FEATURES that it has, the cores that we may use, and memory in GiB."""
    told = read_cpu_info(cpu_info)
    flags = set((told.get("flags") or told.get("Features") or "").split())
    return {
        "processor": told.get("model name") or platform.processor() or platform.machine(),
        "features": [name for name in FEATURES if name in flags],
        "cores": os.cpu_count(),
        "granted_cores": granted_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def versions(names: Iterable[str]) -> dict[str, str]:
    """The installed version of each distribution; those that are not installed are left out."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
