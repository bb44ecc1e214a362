"""Admission: whether there is room for one more open request. Always on, and asked before any other cost is paid.

In this release the limits are hard caps on requests and bytes, with a reserve for hot work; the adaptive limiter
takes this place.
"""

from __future__ import annotations

from dataclasses import dataclass

from sluice.errors import Saturated

HOT_RESERVE = 0.1
RETRY_AFTER_S = 0.2


@dataclass(slots=True, kw_only=True)
class Admission:
    """Counts what is open. Every `admit` is followed by exactly one `release` of the same size."""

    max_requests: int
    max_bytes: int
    requests: int = 0
    size: int = 0

    def admit(self, size: int, *, hot: bool) -> None:
        """Make room for a text of `size` bytes, or raise Saturated. A tenth of all room is for hot requests."""
        share = 1.0 if hot else 1.0 - HOT_RESERVE
        if self.requests >= self.max_requests * share or self.size + size > self.max_bytes * share:
            raise Saturated(f"{self.requests} requests are open, and no more are admitted", retry_after_s=RETRY_AFTER_S)
        self.requests += 1
        self.size += size

    def release(self, size: int) -> None:
        """The request has ended."""
        self.requests -= 1
        self.size -= size
