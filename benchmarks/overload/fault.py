"""What can befall a scene: each trigger begins, lasts, and ends, and says when it has ended."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence

from benchmarks.overload.scene import Scene

# A process under a CPU quota of 20 % runs for this long in each period, and not for the rest.
PERIOD_S = 0.05
QUOTA = 0.2


async def kill_half(scene: Scene, duration_s: float) -> None:
    """Kill every other worker, and start them anew after that time; returns when they take work again."""
    victims = scene.workers()[::2]
    await scene.kill(*victims)
    await asyncio.sleep(duration_s)
    await scene.restart(*victims)


async def freeze_half(scene: Scene, duration_s: float) -> None:
    """Stop every other worker where it stands: its connections stay, and nothing moves."""
    await freeze(scene, scene.workers()[::2], duration_s)


async def freeze(scene: Scene, names: Sequence[str], duration_s: float) -> None:
    """Stop members for that time."""
    try:
        for name in names:
            scene.signal(name, signal.SIGSTOP)
        await asyncio.sleep(duration_s)
    finally:
        for name in names:
            scene.signal(name, signal.SIGCONT)


async def throttle_workers(scene: Scene, duration_s: float) -> None:
    """Let every worker run for a fifth of the time, as a CPU quota that is cut by 80 % does."""
    await throttle(scene, scene.workers(), duration_s)


async def throttle_router(scene: Scene, duration_s: float) -> None:
    """The same for the router, which then cannot even refuse at its usual pace."""
    await throttle(scene, ["router"], duration_s)


async def throttle(scene: Scene, names: Sequence[str], duration_s: float) -> None:
    """Let members run for a fifth of that time."""
    end = time.monotonic() + duration_s
    while time.monotonic() < end:
        await freeze(scene, names, PERIOD_S * (1 - QUOTA))
        await asyncio.sleep(PERIOD_S * QUOTA)
