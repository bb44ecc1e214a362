"""What a resource says of itself, and the one interface behind which resources are read.

A reading is valid or it is none: what is not a number, negative or without a limit raises Unreadable where it is made,
and counts as unknown. Unknown is never healthy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


class MonitorError(Exception):
    """A resource that should be read cannot be, or says what cannot be true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes in use that nobody can take back, and how many there may be. Raises Unreadable for what is no memory."""

    used_bytes: float
    limit_bytes: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.used_bytes) and math.isfinite(self.limit_bytes)):
            raise MonitorError(f"memory of {self.used_bytes} / {self.limit_bytes} bytes")
        if self.used_bytes < 0 or self.limit_bytes <= 0:
            raise MonitorError(f"memory of {self.used_bytes} / {self.limit_bytes} bytes")

    @property
    def ratio(self) -> float:
        """Used over limit, in [0, 1]: a limit that was lowered below what is used counts as reached."""
        return min(1.0, self.used_bytes / self.limit_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSample:
    """One look. None: the monitor has no say in that value. Raises Unreadable for a utilisation outside [0, 1]."""

    utilization: float | None = None
    memory: Memory | None = None

    def __post_init__(self) -> None:
        if self.utilization is not None and not 0.0 <= self.utilization <= 1.0:
            raise MonitorError(f"a utilisation of {self.utilization}")


class ResourceMonitor(Protocol):
    """Watches one resource. Called on the event loop, so that it must answer within a millisecond."""

    def read(self) -> ResourceSample:
        """The newest reading. Raises Unreadable when there should be one and is not."""
