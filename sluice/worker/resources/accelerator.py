"""An accelerator as a resource: its memory, and its utilisation where the driver tells."""

from __future__ import annotations

from typing import Protocol

from sluice.worker.resources.reading import Memory, Reading, Unreadable


class Accelerator(Protocol):
    """What a driver says. Every method may raise what it likes, say nonsense, or hang."""

    def memory_bytes(self) -> tuple[float, float]:
        """Free, and in all; other programs' use of the device counts as not free."""

    def reusable_bytes(self) -> float:
        """Held by this process's allocator and not in use: it needs no more of the driver for as much."""

    def utilization(self) -> float | None:
        """Share of the driver's last sample in which anything was computed, in [0, 1]; None: it does not tell."""


class AcceleratorMonitor:
    """Asks `accelerator`, and believes only what can be true."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator

    def read(self) -> Reading:
        """Memory, and utilisation if it is told. Raises Unreadable."""
        try:
            free, total = self._accelerator.memory_bytes()
            reusable = self._accelerator.reusable_bytes()
            utilization = self._accelerator.utilization()
        except Exception as error:
            raise Unreadable(f"the accelerator: {type(error).__name__}: {error}") from error
        if not (0 <= free <= total and reusable >= 0):
            raise Unreadable(f"the accelerator has {free} of {total} bytes free, and {reusable} to use again")
        used = max(0.0, total - free - reusable)
        return Reading(utilization=utilization, memory=Memory(used_bytes=used, limit_bytes=total))
