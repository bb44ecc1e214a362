"""Keeps a local mesh running: a service that dies is started again, while the others go on serving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from sluice.cli.mesh import LocalMesh
from sluice.cli.process import ServiceFailed, ServiceProcess, describe_exit

# When a service that died is started again, and when it is given up: exponential backoff over fast deaths.
#
# As systemd's StartLimitBurst and Kubernetes' CrashLoopBackOff do it: what ran for a while is started again almost at
# once; what dies again and again right after its start waits twice as long each time, and in the end is left alone.


FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 30.0
STABLE_S = 10.0
"""A service that has been ready for so long has not died fast."""
MAX_FAST_DEATHS = 6
"""So many fast deaths in a row are the end: after some 16 seconds of backoff and the starts themselves."""


@dataclass(frozen=True)
class RestartHistory:
    """How often one service has died fast in a row."""

    fast_deaths: int = 0

    def on_worker_death(self, *, ready_for_s: float | None) -> RestartHistory:
        """The history after one more death. `ready_for_s`: how long it had been ready; None if it never was."""
        stable = ready_for_s is not None and ready_for_s >= STABLE_S
        return replace(self, fast_deaths=0 if stable else self.fast_deaths + 1)

    @property
    def gives_up(self) -> bool:
        """Whether to leave the service alone."""
        return self.fast_deaths >= MAX_FAST_DEATHS

    @property
    def backoff_s(self) -> float:
        """How long to wait before it is started again."""
        return min(FIRST_BACKOFF_S * 2.0 ** max(0, self.fast_deaths - 1), MAX_BACKOFF_S)


OnEvent = Callable[[str, str], object]


class Supervisor:
    """Watches the services of a `mesh` that is up. `on_event` is told of each death and of what follows from it."""

    def __init__(self, mesh: LocalMesh, *, on_event: OnEvent) -> None:
        self._mesh = mesh
        self._on_event = on_event
        self.given_up: set[str] = set()

    async def run(self) -> None:
        """Keep every service running. Returns when what has not been given up cannot serve; cancel it before that.

        A mesh can serve with its router and any worker; the governor is optional. Nothing is stopped here.
        """
        pending = {asyncio.ensure_future(self._keep(process)) for process in self._mesh.processes.values()}
        try:
            while pending and self._can_serve():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    def _can_serve(self) -> bool:
        left = self._mesh.processes.keys() - self.given_up
        if not left:
            return False
        workers = {name for name in self._mesh.processes if name.endswith("worker")}
        lost_router = "router" in self.given_up
        lost_workers = bool(workers) and workers <= self.given_up
        return not lost_router and not lost_workers

    async def _keep(self, process: ServiceProcess) -> None:
        """Start `process` again whenever it ends, until it is given up."""
        now = asyncio.get_running_loop().time
        history, ready_at = RestartHistory(), now()
        ready: float | None = ready_at
        while True:
            await process.ended(None)
            history = history.on_worker_death(ready_for_s=None if ready is None else now() - ready)
            how = describe_exit(process.exit_code)
            if history.gives_up:
                self.given_up.add(process.name)
                self._on_event(
                    process.name,
                    f"{how}, {history.fast_deaths} times in a row right after its start, and is given up; "
                    f"its log {process.log} ends:\n{process.last_lines()}",
                )
                return
            self._on_event(
                process.name, f"{how}; it is started again in {history.backoff_s:g} s (its log is {process.log})"
            )
            await asyncio.sleep(history.backoff_s)
            ready = await self._start_again(process)

    async def _start_again(self, process: ServiceProcess) -> float | None:
        """Start it; returns when it became ready, or None if it ended first or could not even be started."""
        try:
            self._mesh.start(process.name)
        except ServiceFailed as error:
            self._on_event(process.name, str(error))
            return None
        try:
            await process.ready(None, on_wait=lambda why: self._on_event(process.name, why))
        except ServiceFailed:
            return None
        self._on_event(process.name, "ready")
        return asyncio.get_running_loop().time()
