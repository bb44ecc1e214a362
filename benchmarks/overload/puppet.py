"""Members that report signals of a known course, so that the governor's answer to them can be timed."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from benchmarks.overload.course import Course
from sluice.control.degradation.report import Report
from sluice.control.directive import ActiveDirective
from sluice.control.fleet import Registration
from sluice.control.membership_client import GovernorClient
from sluice.domain.enums import MemberKind
from sluice.load.fleet_log import FleetLog
from sluice.plot.series import Results

# Real signals never repeat themselves to the last digit, and one that does is not believed.
TREMBLE = 1e-4


class Puppets:
    """A router, an accelerator and a CPU worker that report to `governor`, and a log of what it makes of that.

    What the fleet looked like is in `rows`, as a run's results have it.
    """

    def __init__(self, governor: str, course: Course) -> None:
        self._governor = governor
        self._course = course
        self._stack = AsyncExitStack()
        self.begin_at = time.monotonic()
        self.rows: list[Results] = []

    async def __aenter__(self) -> Self:
        kinds = (MemberKind.ROUTER, MemberKind.GPU_WORKER, MemberKind.CPU_WORKER)
        work = [self._member(kind).run() for kind in kinds]
        log = FleetLog(self._governor, begin_at=self.begin_at, entries=self.rows, interval_s=0.05)
        for one in (*work, log.run()):
            self._stack.push_async_callback(_ended, asyncio.ensure_future(one))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def until(self, second: float) -> None:
        """Return at a second of the run."""
        await asyncio.sleep(self.begin_at + second - time.monotonic())

    def _member(self, kind: MemberKind) -> GovernorClient:
        name = kind.name.lower()
        registration = Registration(id=name, kind=kind, address=f"127.0.0.1:{kind.value}")
        directives = ActiveDirective()

        def report() -> Report:
            second = time.monotonic() - self.begin_at
            tremble = TREMBLE * abs(math.sin(second))
            told = {field: value + tremble for field, value in self._course(kind, second, directives.levels).items()}
            return Report(measured_at=datetime.now(UTC), **told)  # type: ignore[arg-type]

        return GovernorClient(self._governor, registration, report=report, directives=directives)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def transitions(rows: Sequence[Results]) -> list[tuple[float, tuple[int, ...]]]:
    """The instants, in seconds of the run, at which other levels came into force, and those levels."""
    found: list[tuple[float, tuple[int, ...]]] = [(-math.inf, ())]
    for row in rows:
        if "levels" in row and tuple(row["levels"]) != found[-1][1]:
            found.append((row["at_s"], tuple(row["levels"])))
    return found[1:]


def first_s(rows: Sequence[Results], level: int) -> float | None:
    """The second in which a level first came into force; None if it never did."""
    return next((at_s for at_s, levels in transitions(rows) if level in levels), None)
