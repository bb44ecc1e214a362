"""Gives memory back that was freed but is still held by the C library's allocator, as after a burst of large messages.

glibc keeps what is freed in its arenas unless it lies at their end, so a program that once held a gigabyte of messages
goes on holding most of it. `malloc_trim(3)` gives whole pages back from anywhere; it costs milliseconds, and nothing is
called while the program is about as small as it has been before.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import cache

import psutil

LOOK_S = 5.0
MAPPED_BYTES = 256 * 1024
_M_MMAP_THRESHOLD = -3
MIB = 2**20
# So much above the least that was seen is worth a call.
GROWTH, SLACK_BYTES = 1.05, 4 * MIB
# A call that gives back less than this was not worth it, and the next one waits longer unless the size changes.
WORTH_BYTES = 2 * MIB
FIRST_INTERVAL_S, MAX_INTERVAL_S = 5.0, 40.0

logger = logging.getLogger(__name__)


class TrimPolicy:
    """When to trim. Pure: resident bytes and a monotonic clock in seconds are arguments."""

    __slots__ = ("_due_at", "_interval_s", "_left", "_soonest_at", "least")

    def __init__(self) -> None:
        self.least: int | None = None
        self._interval_s = FIRST_INTERVAL_S
        self._due_at = self._soonest_at = float("-inf")
        self._left = 0

    def is_due(self, resident: int, now: float) -> bool:
        """Whether to trim a program that has `resident` bytes."""
        self.least = resident if self.least is None else min(self.least, resident)
        # What was in use when nothing could be given back, as in the middle of a burst, may be free by now.
        has_changed = abs(resident - self._left) > SLACK_BYTES
        due_at = self._soonest_at if has_changed else self._due_at
        return resident > self.least * GROWTH + SLACK_BYTES and now >= due_at

    def trimmed(self, before: int, after: int, now: float) -> None:
        """It was done, and changed the resident bytes so."""
        if before - after >= WORTH_BYTES:
            self._interval_s = FIRST_INTERVAL_S
        else:
            self._interval_s = min(MAX_INTERVAL_S, 2 * self._interval_s)
        self._left = after
        self._soonest_at, self._due_at = now + FIRST_INTERVAL_S, now + self._interval_s


def map_large_blocks() -> None:
    """Let every block of a quarter of a mebibyte or more be mapped by itself, and so be given back when it is freed.

    glibc does so at first, and stops for blocks as large as one that was freed. Call it before anything is served.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)


async def keep_small(
    *, resident: Callable[[], int] | None = None, trim: Callable[[], object] | None = None, look_s: float = LOOK_S
) -> None:
    """Look every `look_s`, until cancelled. Returns at once where the C library has no such call."""
    trim = trim or allocator_trim()
    if trim is None:
        return
    read = resident or (lambda: int(psutil.Process().memory_info().rss))
    policy, loop = TrimPolicy(), asyncio.get_running_loop()
    while True:
        await asyncio.sleep(look_s)
        before = read()
        if policy.is_due(before, loop.time()):
            # A call that failed leaves circles of frames and errors, which hold its message until they are collected.
            gc.collect()
            # On a thread: the call does not hold the interpreter's lock.
            await asyncio.to_thread(trim)
            after = read()
            policy.trimmed(before, after, loop.time())
            logger.debug("freed memory was given back", extra={"before_mib": before // MIB, "after_mib": after // MIB})


@cache
def allocator_trim() -> Callable[[], object] | None:
    """glibc's `malloc_trim(0)`, or None where there is none."""
    try:
        call = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    call.argtypes, call.restype = [ctypes.c_size_t], ctypes.c_int
    return lambda: call(0)
