"""A machine with as much memory as the test says, and the control groups of a container on it, made of files."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import psutil
import pytest

from sluice.worker.resources import memory as free_memory
from sluice.worker.resources.memory import CgroupMemory

HostNumbers = namedtuple("HostNumbers", ["total", "available"])
GOOD = {"max": "1000\n", "current": "900\n", "stat": "anon 500\ninactive_file 400\n"}


def cgroup(directory: Path, **files: str) -> Path:
    """A group with these of its files, which are named by what follows `memory.`."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / f"memory.{name}").write_text(content, encoding="utf-8")
    return directory


def monitor(root: Path, group: str = "/") -> CgroupMemory:
    """The memory of a process in `group`, of the groups that are mounted at `root`."""
    membership = root.parent / "membership"
    membership.write_text(f"0::{group}\n", encoding="ascii")
    return CgroupMemory(root, membership)


def confine(monkeypatch: pytest.MonkeyPatch, root: Path, *, available: int, group: str = "/") -> None:
    """Let this process be in `group` of those at `root`, on a machine with `available` bytes."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: HostNumbers(2 * available, available))
    monkeypatch.setattr(free_memory, "CgroupMemory", lambda: monitor(root, group))
