"""An accelerator that says what the test wants, or hangs."""

from __future__ import annotations

import threading


class FakeAccelerator:
    """`free` of `total` bytes, `reusable` in the allocator, `busy` of the time. While `answers` is cleared it hangs."""

    def __init__(self, free: float = 75, total: float = 100, reusable: float = 0, busy: float | None = None) -> None:
        self.free, self.total, self.reusable, self.busy = free, total, reusable, busy
        self.fault: Exception | None = None
        self.looks = 0
        self.answers = threading.Event()
        self.answers.set()

    def memory_bytes(self) -> tuple[float, float]:
        self.looks += 1
        self.answers.wait(20)
        if self.fault is not None:
            raise self.fault
        return self.free, self.total

    def reusable_bytes(self) -> float:
        return self.reusable

    def utilization(self) -> float | None:
        return self.busy
