"""How `sluice up` stops its services: each is drained, and a second Ctrl-C reaches all of them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any, cast

from sluice.cli.mesh import LocalMesh
from sluice.cli.process import ServiceProcess


class Draining:
    """A service that drains for as long as it is told to stop once only."""

    pid = 4_711

    def __init__(self, name: str, *, exit_code: int | None = None) -> None:
        self.name = name
        self.exit_code = exit_code
        self.signals: list[signal.Signals] = []
        self._over = asyncio.Event()

    def signal(self, number: signal.Signals) -> None:
        self.signals.append(number)
        if self.signals.count(signal.SIGTERM) == 2:
            self._over.set()

    async def ended(self, timeout_s: float) -> bool:
        await asyncio.wait_for(self._over.wait(), timeout_s)
        return True


def mesh_of(*services: Draining, on_event: Callable[[str, str], object] = lambda *_: None) -> LocalMesh:
    mesh = LocalMesh({}, environ={}, free_ports=True, on_event=on_event)
    mesh.processes = {one.name: cast("ServiceProcess", one) for one in services}
    return mesh


async def test_a_second_stop_reaches_every_service_that_still_drains() -> None:
    worker, router = Draining("gpu_worker"), Draining("router")
    hurry = asyncio.Event()
    stopping = asyncio.create_task(mesh_of(worker, router).stop(hurry=hurry))
    await asyncio.sleep(0.05)
    assert (router.signals, worker.signals) == ([signal.SIGCONT, signal.SIGTERM], [])
    hurry.set()
    await asyncio.wait_for(stopping, 5)
    stopped: Any = [signal.SIGCONT, signal.SIGTERM, signal.SIGTERM]
    assert (router.signals, worker.signals) == (stopped, stopped)


async def test_what_has_ended_is_not_stopped_and_not_said_to_be() -> None:
    told: list[tuple[str, str]] = []
    worker = Draining("gpu_worker", exit_code=0)
    await asyncio.wait_for(mesh_of(worker, on_event=lambda *one: told.append(one)).stop(), 5)
    assert (worker.signals, told) == ([], [])
