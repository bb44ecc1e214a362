"""A service that cannot be started again is given up, and the mesh serves on for as long as it can."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sluice.cli import process
from sluice.cli import supervisor as restart_policy
from sluice.cli.mesh import LocalMesh
from sluice.cli.supervisor import Supervisor
from sluice.client.aio import AsyncClient
from tests.conftest import IDENTITY_MESH

TIMEOUT_S = 60.0


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not happened():  # noqa: ASYNC110  what another process does sets no event
            await asyncio.sleep(0.05)


@contextmanager
def held(address: str) -> Iterator[None]:
    """Another program listens at `address`."""
    host, _, port = address.rpartition(":")
    with closing(socket.socket()) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen()
        yield


async def test_a_service_that_cannot_be_started_is_given_up_and_only_what_is_needed_ends_the_mesh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restart_policy, "FIRST_BACKOFF_S", 0.01)
    monkeypatch.setattr(restart_policy, "MAX_FAST_DEATHS", 2)
    events: list[tuple[str, str]] = []

    def on_event(service: str, event: str) -> None:
        events.append((service, event))

    mesh = LocalMesh(IDENTITY_MESH, environ=os.environ, free_ports=True, log_directory=tmp_path, on_event=on_event)
    async with mesh:
        supervisor = Supervisor(mesh, on_event=on_event)
        running = asyncio.create_task(supervisor.run())
        with held_after_death(mesh, "governor"):
            await until(lambda: "governor" in supervisor.given_up)
        (last,) = [event for name, event in events if name == "governor" and "given up" in event]
        assert last.startswith("ended with status 2, 2 times in a row right after its start, and is given up; its log ")
        assert "cannot bind" in last
        async with AsyncClient(mesh.router, timeout_s=10) as client:
            assert (await client.infer("hi")).label
        assert not running.done()
        with held_after_death(mesh, "router"):
            async with asyncio.timeout(TIMEOUT_S):
                await running
        assert supervisor.given_up == {"governor", "router"}


@contextmanager
def held_after_death(mesh: LocalMesh, name: str) -> Iterator[None]:
    """Kill a service, and take its address before it is started again."""
    mesh.processes[name].signal(signal.SIGKILL)
    pid = mesh.processes[name].pid
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with held(mesh.addresses[name]):
        yield


async def test_a_log_that_cannot_be_written_for_a_while_costs_a_restart_and_not_the_mesh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restart_policy, "FIRST_BACKOFF_S", 0.1)
    events: list[tuple[str, str]] = []
    logs = tmp_path / "logs"
    mesh = LocalMesh(
        IDENTITY_MESH,
        environ=os.environ,
        free_ports=True,
        log_directory=logs,
        on_event=lambda *event: events.append(event),
    )
    async with mesh:
        supervisor = Supervisor(mesh, on_event=lambda *event: events.append(event))
        running = asyncio.create_task(supervisor.run())
        logs.rename(tmp_path / "moved")
        logs.touch()
        mesh.processes["governor"].signal(signal.SIGKILL)
        await until(lambda: any(event.startswith("governor cannot be started: ") for _, event in events))
        logs.unlink()
        await until(lambda: events[-1] == ("governor", "ready"))
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_log_that_cannot_be_written_at_the_start_is_said_in_one_line(tmp_path: Path) -> None:
    mesh = LocalMesh(IDENTITY_MESH, environ=os.environ, free_ports=True, log_directory=tmp_path / "file")
    (tmp_path / "file").touch()
    with pytest.raises(process.ServiceFailed, match=r"cannot be started: .*file"):
        await mesh.__aenter__()


async def test_a_start_says_within_seconds_what_it_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "FIRST_WORD_S", 0.2)
    monkeypatch.setattr(process, "WORD_EVERY_S", 0.2)
    events: list[tuple[str, str]] = []
    settings = {"router": {}}
    mesh = LocalMesh(
        settings,
        environ=os.environ,
        services=["router"],
        free_ports=True,
        log_directory=tmp_path,
        on_event=lambda *event: events.append(event),
    )
    # A router without workers is never ready.
    starting = asyncio.create_task(mesh.__aenter__())
    try:
        await until(lambda: any("NOT_SERVING" in event for _, event in events))
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    said = [event for _, event in events if event.startswith("not ready after ")]
    assert f"(its log is {tmp_path / 'router.log'})" in said[-1]
