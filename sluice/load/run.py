"""A run from beginning to end: processes are started, begin at one instant, and what they count is put together.

The processes are started before this one has any gRPC object, and none is ever forked.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from sluice.load.fleet_log import FleetLog
from sluice.load.part import LoadFailed, Part
from sluice.load.plan import Plan
from sluice.load.tally import Tally

READY_TIMEOUT_S = 60.0
BEGIN_IN_S = 0.3


@dataclass(slots=True, kw_only=True)
class Cost:
    """What one process has used in the `passed_s` seconds since the run began: of CPU, and of that in its loop."""

    passed_s: float
    cpu_s: float
    loop_cpu_s: float


@dataclass(slots=True, kw_only=True)
class Recording:
    """What is known of a run so far. It begins at `begin_at` of the monotonic clock, and `begun_at` of the wall's."""

    plan: Plan
    tally: Tally
    begin_at: float = 0.0
    begun_at: float = 0.0
    costs: dict[int, Cost] = field(default_factory=dict)
    fleet: list[Mapping[str, Any]] = field(default_factory=list)


async def play(
    plan: Plan,
    *,
    governor: str = "",
    on_begin: Callable[[Recording], object] = id,
    on_progress: Callable[[Recording], object] = id,
) -> Recording:
    """Play `plan`, watching the fleet at `governor` if one is named.

    `on_begin` is called when the run's first instant is known, `on_progress` about once a second from then on.
    Raises LoadFailed when the router cannot be reached or a process ends before its time. Cancelled, it leaves no
    process behind.
    """
    recording = Recording(plan=plan, tally=Tally(plan.window_s))
    parts: list[Part] = []
    with tempfile.TemporaryFile() as errors:
        async with AsyncExitStack() as stack:
            for number in range(plan.processes):
                part = await Part.start(errors)
                stack.push_async_callback(part.end)
                part.tell({"part": number, "plan": plan.model_dump_json()})
                parts.append(part)
            for part in parts:
                await _ready(part)
            recording.begin_at = time.monotonic() + BEGIN_IN_S
            recording.begun_at = time.time() + BEGIN_IN_S
            for part in parts:
                part.tell({"begin_at": recording.begin_at})
            on_begin(recording)
            await stack.enter_async_context(_watching(governor, recording))
            await asyncio.gather(*(_follow(part, place, recording, on_progress) for place, part in enumerate(parts)))
    return recording


async def _ready(part: Part) -> None:
    try:
        told = await asyncio.wait_for(part.hear(), READY_TIMEOUT_S)
    except TimeoutError:
        raise LoadFailed(f"a process was not ready after {READY_TIMEOUT_S:g} s") from None
    if "failed" in told:
        raise LoadFailed(told["failed"])


async def _follow(part: Part, place: int, recording: Recording, on_progress: Callable[[Recording], object]) -> None:
    done = False
    while not done:
        told = await part.hear()
        recording.tally.merge(told["counted"])
        recording.costs[place] = Cost(**{name: told[name] for name in ("passed_s", "cpu_s", "loop_cpu_s")})
        done = "done" in told
        on_progress(recording)


@asynccontextmanager
async def _watching(governor: str, recording: Recording) -> AsyncIterator[None]:
    """Keep the fleet's log while the block runs; without a governor there is none."""
    if not governor:
        yield
        return
    task = asyncio.create_task(FleetLog(governor, begin_at=recording.begin_at, entries=recording.fleet).run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
