"""The cores that this process was granted: what it may be scheduled on, and no more than its container's quota pays.

A process in a container of two cores on a machine of sixty-four would otherwise start sixty-four threads, which the
kernel stops for most of every period.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

# What Linux tells of the processor, in the words that it uses itself.


CPU_INFO = Path("/proc/cpuinfo")


def read_cpu_info(file: Path = CPU_INFO) -> dict[str, str]:
    """The facts of the first core by name, such as `model name` and `flags`; none where there is no such file."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    told: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        told.setdefault(key.strip(), value.strip())
    return told


CGROUP = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
_UNIFIED = "0::"


def granted_cores(root: Path = CGROUP, membership: Path = MEMBERSHIP) -> int:
    """The smaller of the scheduler's affinity and the cgroup quota, at least 1.

    `root` is where cgroup v2 is mounted, `membership` the file that says which cgroup the process is in.
    """
    # Only Linux tells whom a process is pinned to.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = quota_cores(root, cgroup_of(membership))
    return allowed if quota is None else min(allowed, quota)


def cgroup_of(membership: Path) -> str:
    """The path of the process's v2 cgroup below the mount, as `membership` says; "" when it says none."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    unified = [line.removeprefix(_UNIFIED) for line in lines if line.startswith(_UNIFIED)]
    return unified[0].strip("/") if unified else ""


def quota_cores(root: Path, cgroup: str = "") -> int | None:
    """The least quota of `cgroup` and all groups above it up to `root`, in whole cores, rounded up, at least 1.

    None when none of them has a quota: `cpu.max` is absent or says "max", or names no two numbers.
    """
    path = root / cgroup
    # Seen from within a container's own namespace, its group may be named by a way out of the mount.
    groups = [root] if ".." in Path(cgroup).parts else [path, *path.parents]
    quotas = [_quota(group / "cpu.max") for group in groups if group.is_relative_to(root)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(file: Path) -> int | None:
    """`cpu.max` holds microseconds of CPU time per period, and the period's length."""
    try:
        time_us, period_us = file.read_text(encoding="ascii").split()
        return max(1, math.ceil(int(time_us) / int(period_us)))
    except (OSError, ValueError, ZeroDivisionError):
        return None
