"""The host's memory as a resource."""

from __future__ import annotations

import psutil

from sluice.worker.resources.reading import Memory, Reading, Unreadable


class HostMemory:
    """What the kernel calls available counts as free: it can be had without swapping."""

    def read(self) -> Reading:
        """Memory only. Raises Unreadable when the platform does not tell."""
        try:
            host = psutil.virtual_memory()
        except (OSError, RuntimeError, ValueError) as error:
            raise Unreadable(f"the host's memory: {error}") from error
        return Reading(memory=Memory(used_bytes=host.total - host.available, limit_bytes=host.total))
