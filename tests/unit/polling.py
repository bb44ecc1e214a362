"""Waiting for what other tasks, threads and processes do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

POLL_S = 0.005
LIMIT_S = 10.0


async def until(condition: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    """Return when `condition` holds, which it must within `limit_s`."""
    for _ in range(int(limit_s / POLL_S)):
        if condition():
            return
        await asyncio.sleep(POLL_S)
    raise AssertionError("it never came to that")
