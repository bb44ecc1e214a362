"""Whether an error of torch's means that memory does not suffice."""

from __future__ import annotations

import torch

# The CPU's allocator has no error of its own.
_CPU_ALLOCATOR = "DefaultCPUAllocator"


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device, or the host, had no room: torch has then allocated nothing, and goes on as before."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or _CPU_ALLOCATOR in str(error)
