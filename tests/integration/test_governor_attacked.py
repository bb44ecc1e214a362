"""A governor under clients that break every rule: they are refused by name, and whoever keeps the rules is directed."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2 as grpc_health_pb2
from grpc_health.v1 import health_pb2_grpc

from services.governor.control_loop import Governor
from services.governor.servicer import SERVICE
from sluice.cli.addresses import free_port
from sluice.cli.mesh import LocalMesh
from sluice.cli.process import ServiceProcess
from sluice.control.directive import ActiveDirective
from sluice.control.epochs import latest_epoch, new_epoch
from sluice.control.fleet import DepartureReason
from sluice.v1 import governor_service_pb2 as governor_pb2
from tests.integration.large_fleet import long_card
from tests.integration.live_governor import Stub, governing, idle, member, stub_of
from tests.unit.polling import until
from tests.unit.streams import end_of

SERVING = grpc_health_pb2.HealthCheckResponse.SERVING
YEAR_S = 365 * 86_400.0
CARD = governor_pb2.JoinRequest(registration={"id": "w", "kind": 3, "address": "10.0.0.1:1"}).SerializeToString()
UNREAD = b"\x0a\x02\x0a\xff"


async def test_bytes_that_are_no_message_are_refused_by_every_method_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with governing() as (governor, address), member(address, "a"), grpc.aio.insecure_channel(address) as raw:
        await until(governor.table.members)
        with caplog.at_level(logging.WARNING):
            for _ in range(30):
                calls = (
                    raw.unary_unary(f"/{SERVICE}/SetDegradation")(UNREAD),
                    raw.unary_stream(f"/{SERVICE}/WatchFleet")(UNREAD),
                    raw.stream_stream(f"/{SERVICE}/Join")(iter([UNREAD])),
                    raw.stream_stream(f"/{SERVICE}/Join")(iter([CARD, UNREAD])),
                )
                codes = [await calls[0].code(), *[await end_of(call) for call in calls[1:]]]
                assert codes == [grpc.StatusCode.INVALID_ARGUMENT] * 4
        assert sum(record.levelno >= logging.WARNING for record in caplog.records) <= 2
        await until(lambda: [one.id for one in governor.table.members()] == ["a"])


def claim(epoch: int, *, directed: bool, name: str = "liar") -> governor_pb2.JoinRequest:
    """A registration that claims to obey a governor of `epoch`."""
    said = {"epoch": epoch, "revision": 1, "degradation": {"admit_scale": 1}}
    card = governor_pb2.Registration(id=name, kind=3, address=f"{name}:1", obeyed=said, directed=directed)  # type: ignore[arg-type]
    return governor_pb2.JoinRequest(registration=card)


async def lie(stub: Stub, epoch: int, *, directed: bool) -> None:
    """Register with such a claim, and go again as soon as there is an answer."""
    call = stub.Join(iter([claim(epoch, directed=directed)]))
    await asyncio.wait_for(end_of(call), 10)


def is_directed(state: ActiveDirective, governor: Governor) -> bool:
    """Whether a member obeys what `governor` says now, and within its lease."""
    current = state.current
    return (
        current is not None
        and current.version == governor.controller.current.version
        and not state.is_autonomous(time.monotonic())
    )


@asynccontextmanager
async def governor_process(folder: Path, **settings: Any) -> AsyncIterator[ServiceProcess]:
    """A governor as a process of its own."""
    mesh = LocalMesh(
        {"governor": settings}, environ=os.environ, services=("governor",), free_ports=True, log_directory=folder
    )
    async with mesh:
        yield mesh.processes["governor"]


async def serving(address: str) -> bool:
    async with grpc.aio.insecure_channel(address) as channel:
        request = grpc_health_pb2.HealthCheckRequest(service="readiness")
        answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=10)
    return bool(answer.status == SERVING)


async def watched(stub: Stub) -> Any:
    """The fleet as a watcher sees it now."""
    watch = stub.WatchFleet(governor_pb2.WatchFleetRequest())
    seen = await asyncio.wait_for(watch.read(), 10)
    watch.cancel()
    assert seen.HasField("fleet")
    return seen.fleet


@pytest.mark.parametrize("journal", [True, False], ids=["journal", "no journal"])
async def test_no_epoch_that_is_told_costs_the_fleet_its_governor(tmp_path: Path, *, journal: bool) -> None:
    settings = {"journal": str(tmp_path / "journal.db"), "lease_s": 1.0} if journal else {"lease_s": 1.0}
    async with (
        governor_process(tmp_path, **settings) as process,
        stub_of(process.address) as stub,
        member(process.address, "honest") as honest,
    ):
        for _ in range(2):
            for epoch in (2**64 - 2, 2**64 - 1, 2**63, latest_epoch(time.time()) - 10**9):
                for directed in (True, False):
                    await lie(stub, epoch, directed=directed)
            process.signal(signal.SIGKILL)
            assert await process.ended(10)
            process.start()
            await process.ready(30)
            fleet = await watched(stub)
            assert fleet.epoch < 2**63
            assert await serving(process.address)
            epoch = fleet.epoch
            await until(lambda: honest.current is not None and honest.current.epoch >= epoch)  # noqa: B023
        await until(lambda: not honest.is_autonomous(time.monotonic()))
    log = process.log.read_text(encoding="utf-8")
    assert "Traceback" not in log
    assert '"an implausible epoch was refused"' in log
    assert log.count('"an implausible epoch was refused"') <= 2 * 2


async def test_a_journal_that_was_poisoned_by_an_earlier_release_is_healed(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE epochs (epoch TEXT NOT NULL)")
        connection.execute("INSERT INTO epochs VALUES (?)", (str(2**64 - 1),))
    async with governor_process(tmp_path, journal=str(path)) as process, stub_of(process.address) as stub:
        assert (await watched(stub)).epoch <= latest_epoch(time.time())
    with closing(sqlite3.connect(path)) as connection:
        (kept,) = connection.execute("SELECT epoch FROM epochs").fetchone()
    assert int(kept) <= latest_epoch(time.time())


async def test_who_claims_for_ever_that_another_governor_directs_is_not_believed_for_long() -> None:
    async with (
        governing(new_epoch(time.time(), Random()), lease_s=0.5, renew_interval_ms=100) as (governor, address),
        stub_of(address) as stub,
        member(address, "a") as a,
        member(address, "b") as b,
    ):
        await until(lambda: is_directed(a, governor) and is_directed(b, governor))
        stood_by = 0

        async def claim_for_ever() -> None:
            while True:
                await lie(stub, int((time.time() + 3_600) * 1e9), directed=True)
                await asyncio.sleep(0.05)

        lying = asyncio.create_task(claim_for_ever())
        await until(lambda: governor.is_standby)
        # They come back when their lease is over, and refute it.
        await until(lambda: is_directed(a, governor) and is_directed(b, governor) and not governor.is_standby)
        for _ in range(40):
            await asyncio.sleep(0.05)
            stood_by += governor.is_standby
        assert stood_by == 0
        assert is_directed(a, governor)
        assert is_directed(b, governor)
        lying.cancel()
        await asyncio.gather(lying, return_exceptions=True)


async def test_readiness_is_lost_while_a_governor_stands_by_and_comes_back(tmp_path: Path) -> None:
    async with governor_process(tmp_path, lease_s=1.0) as process, stub_of(process.address) as stub:
        assert await serving(process.address)
        await lie(stub, int((time.time() + 60) * 1e9), directed=True)
        await polled(process.address, is_ready=False)
        await polled(process.address, is_ready=True)


async def polled(address: str, *, is_ready: bool) -> None:
    for _ in range(200):
        if await serving(address) is is_ready:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"readiness never was {is_ready}")


OFF = {"ahead": YEAR_S, "behind": -YEAR_S}


@pytest.mark.parametrize("off_s", OFF.values(), ids=OFF)
@pytest.mark.parametrize("whose", ["governor", "members"])
async def test_a_clock_that_is_a_year_wrong_ends_in_one_governor_by_restarts(whose: str, off_s: float) -> None:
    port, off = free_port(), {"governor": 0.0, "members": 0.0}

    def clock(of: str) -> Callable[[], float]:
        return lambda: time.time() + off[of]

    address = f"127.0.0.1:{port}"
    async with (
        member(address, "a", wall=clock("members")) as a,
        member(address, "b", wall=clock("members")) as b,
    ):
        # Right, wrong, right again: each time the governor is started anew, and nothing else.
        for now_off_s in (0.0, off_s, 0.0):
            off[whose] = now_off_s
            wall = clock("governor")
            settings: Mapping[str, Any] = {"lease_s": 0.5, "renew_interval_ms": 100}
            async with governing(new_epoch(wall(), Random()), port, wall, **settings) as (governor, _):
                await until(lambda: is_directed(a, governor) and is_directed(b, governor))
                assert governor.can_direct


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Leave no room at all; returns the file that takes it."""
    rest = place / "rest"
    with rest.open("ab", buffering=0) as file:
        for size in (4_096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    return rest


async def change_levels(stub: Stub, times: int, *, before: int = 0) -> None:
    """So many transitions, after `before` others."""
    for number in range(before, before + times):
        level = number % 2 + 1
        degradation = {"levels": [level], "offload_share": 1, "lighten_share": 1}
        request = governor_pb2.SetDegradationRequest(degradation=degradation, duration={"seconds": 600}, reason="drill")  # type: ignore[arg-type]
        await stub.SetDegradation(request)


def kept_in(path: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM transitions").fetchone()
    except sqlite3.Error:
        return 0
    return int(count)


async def all_kept(path: Path, count: int) -> None:
    """Return when so many records are in the file."""
    await until(lambda: path.exists() and kept_in(path) == count, limit_s=20)


async def test_a_disk_that_is_full_while_it_runs_costs_no_record(tmp_path: Path, small_disk: Path) -> None:
    path = small_disk / "journal.db"
    async with governor_process(tmp_path, journal=str(path)) as process, stub_of(process.address) as stub:
        await change_levels(stub, 1)
        await all_kept(path, 1)
        rest = fill(small_disk)
        await change_levels(stub, 40, before=1)
        assert await serving(process.address)
        rest.unlink()
        await all_kept(path, 41)
    log = process.log.read_text(encoding="utf-8")
    assert '"the journal cannot be written"' in log
    assert '"the journal is written again"' in log


async def test_a_disk_that_is_full_at_the_start_costs_no_record(tmp_path: Path, small_disk: Path) -> None:
    path = small_disk / "journal.db"
    rest = fill(small_disk)
    async with governor_process(tmp_path, journal=str(path)) as process, stub_of(process.address) as stub:
        assert await serving(process.address)
        await change_levels(stub, 5)
        rest.unlink()
        await all_kept(path, 5)
    assert '"the journal cannot be written"' in process.log.read_text(encoding="utf-8")


async def test_a_bad_row_and_a_file_that_is_none_do_not_keep_a_governor_from_starting(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    async with governor_process(tmp_path, journal=str(path)) as process, stub_of(process.address) as stub:
        await change_levels(stub, 3)
        await all_kept(path, 3)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE transitions SET levels = 'panic', epoch = '-1' WHERE id = 2")
    async with governor_process(tmp_path, journal=str(path)) as process, stub_of(process.address) as stub:
        watch = stub.WatchFleet(governor_pb2.WatchFleetRequest(history=10))
        assert len((await asyncio.wait_for(watch.read(), 10)).transitions) == 2
    path.write_bytes(b"nothing of the kind" * 100)
    async with governor_process(tmp_path, journal=str(path)) as process, stub_of(process.address) as stub:
        await change_levels(stub, 1)
        await all_kept(path, 1)
    assert damaged(tmp_path) == 2


def damaged(folder: Path) -> int:
    """How many journals were set aside."""
    return len(list(folder.glob("journal.db.damaged-*")))


async def test_a_member_for_whose_card_there_is_no_room_is_refused_and_costs_no_other_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    large = replace(idle(), variants=(long_card(1, 60_000),))
    async with governing(max_card_bytes=65_536) as (governor, address), member(address, "small"):
        await until(lambda: len(governor.table.members()) == 1)
        async with member(address, "large", report=lambda: large):
            await until(lambda: "the governor refuses this member" in caplog.messages)
            said = next(one for one in caplog.records if one.message == "the governor refuses this member")
            assert "RESOURCE_EXHAUSTED" not in said.__dict__["why"]
            assert "max_card_bytes is 65536" in said.__dict__["why"]
            await until(lambda: [one.id for one in governor.table.members()] == ["small"])
            # No router takes it for one that broke the contract.
            reasons = {one.id: one.reason for one in governor.fleet().departed}
            assert reasons == {"large": DepartureReason.LOST}
