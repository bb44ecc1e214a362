"""Two processes under one id or address, a process and its successor, and two meshes side by side."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from services.governor.control_loop import Governor
from sluice import AsyncClient
from sluice.cli.mesh import LocalMesh, free_port
from sluice.control.directive import ActiveDirective
from sluice.control.fleet import Registration
from sluice.control.identity import MESH_METADATA, MESH_VARIABLE
from sluice.control.membership_client import GovernorClient
from sluice.domain.enums import MemberKind, QueryClass, Tier
from sluice.domain.errors import NoEndpoint
from sluice.v1 import worker_service_pb2_grpc as worker_grpc
from tests.conftest import IDENTITY_MESH
from tests.integration.live_governor import governing, idle
from tests.unit.polling import until

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def member(
    governor: str, boot: str, *, id_: str = "w", address: str = "10.0.0.1:1", mesh: str = ""
) -> AsyncIterator[GovernorClient]:
    card = Registration(id=id_, kind=MemberKind.CPU_WORKER, address=address, boot=boot, mesh=mesh)
    membership = GovernorClient(governor, card, report=idle, directives=ActiveDirective())
    running = asyncio.create_task(membership.run())
    try:
        yield membership
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def boots(governor: Governor) -> list[str]:
    return [one.boot for one in governor.table.members()]


def refusals(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [one for one in caplog.records if one.message == "the governor refuses this member"]


@pytest.mark.parametrize(
    ("id_", "address"), [("w", "10.0.0.1:1"), ("w", "10.0.0.2:1"), ("x", "10.0.0.1:1")], ids=["both", "id", "address"]
)
async def test_of_two_that_live_at_once_the_later_is_refused_once_and_for_as_long_as_the_first_lives(
    caplog: pytest.LogCaptureFixture, id_: str, address: str
) -> None:
    async with governing() as (governor, at):
        async with member(at, "first"):
            await until(lambda: boots(governor) == ["first"])
            ticket = governor.table._seats["w"].ticket
            async with member(at, "second", id_=id_, address=address) as second:
                await until(lambda: refusals(caplog))
                await asyncio.sleep(3.0)
                assert boots(governor) == ["first"]
                # Nobody has lost its place for a moment.
                assert governor.table._seats["w"].ticket == ticket
                assert not second.joined
                (said,) = refusals(caplog)
                assert "duplicate id/address" in said.__dict__["why"]
                assert "advertise" in said.__dict__["what_to_do"]
        # It has gone: the place is free.
        async with member(at, "second", id_=id_, address=address):
            await until(lambda: boots(governor) == ["second"])


async def test_the_one_that_was_refused_is_let_in_when_the_other_has_gone(caplog: pytest.LogCaptureFixture) -> None:
    async with governing() as (governor, at):
        async with member(at, "first"):
            await until(lambda: boots(governor) == ["first"])
            waiting = member(at, "second")
            await waiting.__aenter__()
            await until(lambda: refusals(caplog))
        await until(lambda: boots(governor) == ["second"])
        await waiting.__aexit__(None, None, None)


async def test_a_successor_of_a_process_that_answers_no_more_takes_its_place_although_its_stream_is_open() -> None:
    """A machine that lost its power closes no connection. The predecessor here is one that never says a word."""
    async with governing(report_interval_ms=60_000) as (governor, at):
        hanging = Registration(id="w", kind=MemberKind.CPU_WORKER, address="10.0.0.1:1", boot="first")
        governor.join(hanging)
        async with member(at, "second"):
            await until(lambda: boots(governor) == ["second"])


async def test_a_worker_that_is_killed_and_started_again_at_once_has_its_place_back(tmp_path: Path) -> None:
    settings = {**IDENTITY_MESH, "cpu_worker": {**IDENTITY_MESH["cpu_worker"], "id": "the-worker"}}
    mesh = LocalMesh(settings, environ=os.environ, free_ports=True, log_directory=tmp_path)
    async with mesh, AsyncClient(mesh.router) as client:
        worker = mesh.processes["cpu_worker"]
        for _ in range(3):
            worker.signal(signal.SIGKILL)
            assert await worker.ended(10)
            mesh.start("cpu_worker")
            await worker.ready(30)
            async with asyncio.timeout(10):
                while (await client.infer("text", query_class=QueryClass.SIMPLE)).tier is not Tier.LIGHT:
                    pass
        log = worker.log.read_text(encoding="utf-8")
        assert log.count("governor joined") == 4
        assert "refuses" not in log


async def test_a_governor_refuses_a_member_of_another_mesh_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async with governing(mesh="blue") as (governor, at):
        async with member(at, "green", mesh="green"), member(at, "nameless", id_="n", address="10.0.0.2:1"):
            await until(lambda: len(refusals(caplog)) == 2)
            assert all("blue" in said.__dict__["why"] for said in refusals(caplog))
            assert governor.table.members() == ()
        async with member(at, "blue", mesh="blue"):
            await until(lambda: boots(governor) == ["blue"])


async def test_a_router_takes_nothing_to_a_worker_of_another_mesh_nor_does_the_worker_let_it(tmp_path: Path) -> None:
    """The first mesh's workers are listed as the second mesh's own, as a wrong file would."""
    first = LocalMesh(IDENTITY_MESH, environ=os.environ, free_ports=True, log_directory=tmp_path / "first")
    async with first:
        theirs = first.addresses["cpu_worker"]
        async with grpc.aio.insecure_channel(theirs) as channel:
            call = worker_grpc.WorkerServiceStub(channel).Execute(metadata=((MESH_METADATA, "another"),))
            assert await call.code() is grpc.StatusCode.FAILED_PRECONDITION
        port = free_port()
        environ = {
            **os.environ,
            MESH_VARIABLE: "second",
            "SLUICE_ROUTER_LISTEN": f"127.0.0.1:{port}",
            "SLUICE_ROUTER_WORKERS": f"[{theirs}]",
            "SLUICE_CONFIG": "/dev/null",
        }
        router = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.router", env=environ, cwd=ROOT, stderr=asyncio.subprocess.PIPE
        )
        try:
            assert router.stderr is not None
            async with asyncio.timeout(20):
                while b"belongs to another mesh" not in await router.stderr.readline():
                    pass
            async with AsyncClient(f"127.0.0.1:{port}") as client:
                with pytest.raises(NoEndpoint):
                    await client.infer("text", timeout_s=3)
        finally:
            router.terminate()
            await router.communicate()
