"""How much of the host's memory there is still to take."""

from __future__ import annotations

from sluice.worker.cgroup_memory import CgroupMemory
from sluice.worker.resources.memory import HostMemory


def free_memory_bytes() -> float:
    """What the machine has free, or the container, if that is less. Raises Unreadable when one cannot be read."""
    # The fullest group need not be the one with the least left: a large one around it may be fuller.
    memories = [HostMemory().read().memory, *CgroupMemory().limited()]
    return min(memory.limit_bytes - memory.used_bytes for memory in memories if memory is not None)
