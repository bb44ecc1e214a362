"""The host's memory as a resource."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import psutil

from sluice.runtime.cpu import CGROUP, MEMBERSHIP, cgroup_of
from sluice.worker.resources.reading import Memory, MonitorError, ResourceSample

# The control group's memory (cgroup v2) as a resource. Limits are read anew each time: they change under a process.


_NO_LIMIT = "max"


class CgroupMemory:
    """The fullest of the process's group and all above it. `root` is the mount, `membership` names the group in it."""

    def __init__(self, root: Path = CGROUP, membership: Path = MEMBERSHIP) -> None:
        self._root = root
        self._membership = membership

    def read(self) -> ResourceSample:
        """Memory only, and none where no group has a limit. Raises Unreadable when a group's files make no sense."""
        return ResourceSample(memory=max(self.limited(), key=lambda memory: memory.ratio, default=None))

    def limited(self) -> list[Memory]:
        """The memory of each of these groups that has a limit. Raises Unreadable as `read` does."""
        return [memory for group in self._groups() if (memory := memory_of(group)) is not None]

    def _groups(self) -> Iterable[Path]:
        group = cgroup_of(self._membership)
        path = self._root / group
        # Seen from within a container's own namespace, its group may be named by a way out of the mount.
        groups = [self._root] if ".." in Path(group).parts else [path, *path.parents]
        return (one for one in groups if one.is_relative_to(self._root))


def memory_of(group: Path) -> Memory | None:
    """What `group` uses of its limit; None without a limit.

    File pages that no process has mapped are not in use: the kernel drops them when it needs room. Mapped ones are,
    and among them are the weights of a model that is read from its file. Raises Unreadable.
    """
    limit, current = group / "memory.max", group / "memory.current"
    # The root of all groups, and a group without the controller, have neither file.
    if not limit.exists() and not current.exists():
        return None
    try:
        allowed = limit.read_text(encoding="ascii").strip()
        if allowed == _NO_LIMIT:
            return None
        stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
        pages = [int(stat.get(name, 0)) for name in ("inactive_file", "active_file", "file_mapped")]
        used = int(current.read_text(encoding="ascii"))
        limit_bytes = int(allowed)
    except (OSError, ValueError) as error:
        raise MonitorError(f"{group}: {error}") from error
    if used < 0 or min(pages) < 0:
        raise MonitorError(f"{group}: a negative number of bytes")
    reclaimable = max(0, pages[0] + pages[1] - pages[2])
    return Memory(used_bytes=max(0, used - reclaimable), limit_bytes=limit_bytes)


class HostMemory:
    """What the kernel calls available counts as free: it can be had without swapping."""

    def read(self) -> ResourceSample:
        """Memory only. Raises Unreadable when the platform does not tell."""
        try:
            host = psutil.virtual_memory()
        except (OSError, RuntimeError, ValueError) as error:
            raise MonitorError(f"the host's memory: {error}") from error
        return ResourceSample(memory=Memory(used_bytes=host.total - host.available, limit_bytes=host.total))


# How much of the host's memory there is still to take.


def free_memory_bytes() -> float:
    """What the machine has free, or the container, if that is less. Raises Unreadable when one cannot be read."""
    # The fullest group need not be the one with the least left: a large one around it may be fuller.
    memories = [HostMemory().read().memory, *CgroupMemory().limited()]
    return min(memory.limit_bytes - memory.used_bytes for memory in memories if memory is not None)
