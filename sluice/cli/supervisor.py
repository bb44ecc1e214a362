"""Keeps a local mesh running: a service that dies is started again, while the others go on serving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sluice.cli.mesh import LocalMesh
from sluice.cli.process import ServiceFailed, ServiceProcess, describe_exit
from sluice.cli.restart_policy import RestartHistory

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
            history = history.after_death(ready_for_s=None if ready is None else now() - ready)
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
