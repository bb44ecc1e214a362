"""Waiting for what other tasks, threads and processes do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

POLL_S = 0.005
LIMIT_S = 10.0


async def until(condition: Callable[[], object]) -> None:
    """Return when `condition` holds."""
    for _ in range(int(LIMIT_S / POLL_S)):
        if condition():
            return
        await asyncio.sleep(POLL_S)
    raise AssertionError("it never came to that")
