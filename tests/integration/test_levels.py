"""Levels over real streams: by what members report, over the governor's death, against stale words and floods."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from services.governor import fleet_watch as snapshots
from services.governor.fleet_watch import SMALLEST_INTERVAL_S
from sluice.cli.mesh import LocalMesh, free_port
from sluice.control.codec import (
    directive_to_proto,
    fleet_to_proto,
    registration_to_proto,
    report_to_proto,
    transition_from_proto,
)
from sluice.control.degradation.report import Report
from sluice.control.degradation.thresholds import DEFAULT_THRESHOLDS
from sluice.control.directive import ActiveDirective, Directive
from sluice.control.fleet import Registration, Transition
from sluice.control.membership_client import GovernorClient
from sluice.control.standalone import StandaloneController
from sluice.domain.enums import Level, MemberKind
from sluice.v1 import governor_service_pb2 as governor_pb2
from sluice.v1 import governor_service_pb2_grpc as governor_grpc
from tests.integration.live_governor import Stub, governing, idle, member, stub_of
from tests.unit.loopback import loopback
from tests.unit.polling import until
from tests.unit.streams import end_of

GPU, CPU, ROUTER = MemberKind.GPU_WORKER, MemberKind.CPU_WORKER, MemberKind.ROUTER
OFFLOAD, LIGHTEN, ADMIT = Level.OFFLOAD, Level.LIGHTEN, Level.ADMIT
OVERRIDE = Directive(epoch=0, revision=0, levels=(LIGHTEN,), lighten_share=1.0, reason="operator: rehearsal")


def measured(**values: Any) -> Report:
    return Report(measured_at=datetime.now(UTC), **values)


@asynccontextmanager
async def autonomous(
    address: str, name: str, kind: MemberKind, values: dict[str, Any]
) -> AsyncIterator[ActiveDirective]:
    """A member as the programs are: it reports `values`, and decides alone while no governor is heard."""
    state = ActiveDirective()
    autonomy = StandaloneController(kind, state, measure=lambda: measured(**values), thresholds=DEFAULT_THRESHOLDS)
    card = Registration(id=name, kind=kind, address=f"{name}:1")
    membership = GovernorClient(address, card, report=autonomy.report, directives=state)
    tasks = [asyncio.create_task(membership.run()), asyncio.create_task(autonomy.run())]
    try:
        yield state
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def transitions_of(stub: Stub, count: int) -> list[Transition]:
    """The first `count` changes of levels that a watcher is told of, past or new."""
    heard: list[Transition] = []
    request = governor_pb2.WatchFleetRequest(interval=Duration(nanos=100_000_000), history=100)
    async with asyncio.timeout(20):
        async for response in stub.WatchFleet(request, wait_for_ready=True):
            heard += map(transition_from_proto, response.transitions)
            if len(heard) >= count:
                return heard
    raise AssertionError("the watch ended")


async def test_a_busy_accelerator_and_a_full_memory_bring_levels_and_watchers_are_told_why() -> None:
    values: dict[str, Any] = {"utilization": 0.97, "memory": 0.5}
    async with (
        governing() as (governor, address),
        stub_of(address) as stub,
        member(address, "gpu", GPU, lambda: measured(**values)),
        member(address, "router", ROUTER) as router,
    ):
        watching = asyncio.create_task(transitions_of(stub, 2))
        await until(lambda: router.levels == (OFFLOAD,))
        assert 0.1 <= router.offload_share <= 1.0
        values["memory"] = 0.9
        await until(lambda: router.levels == (OFFLOAD, LIGHTEN))
        first, second = await watching
        assert (first.before, first.directive.levels) == ((), (OFFLOAD,))
        assert first.directive.reason == "utilization 0.97 > 0.9 for 1 s"
        assert (second.before, second.directive.levels) == ((OFFLOAD,), (OFFLOAD, LIGHTEN))
        assert second.signals.memory == 0.9
        assert governor.fleet().signals.utilization == 0.97


async def test_members_whose_governor_is_lost_go_on_alone_and_obey_the_next_one_which_keeps_their_levels() -> None:
    port = free_port()
    late = {"queue_delay_s": 0.7, "standing_queue_delay_s": 0.7, "median_timeout_s": 1.0, "hot_queued": 9}
    values: dict[str, Any] = {}
    async with autonomous(f"127.0.0.1:{port}", "router", ROUTER, values) as router:
        async with governing(500, port, lease_s=0.5, renew_interval_ms=100) as (governor, _):
            governor.override(OVERRIDE, duration_s=60)
            await until(lambda: router.levels == (LIGHTEN,) and not router.decides_alone)
        await until(lambda: router.decides_alone)
        assert router.levels == (LIGHTEN,)
        values.update(late)
        await until(lambda: router.levels == (OFFLOAD, LIGHTEN, ADMIT))
        async with governing(600, port, lease_s=0.5, renew_interval_ms=100) as (governor, _):
            await until(lambda: not router.decides_alone)
            assert router.levels == governor.controller.current.levels == (OFFLOAD, LIGHTEN, ADMIT)
            assert router.current is not None
            assert router.current.epoch == 600


class Liar(governor_grpc.GovernorServiceServicer):
    """A governor that sends the directives it is given, in that order."""

    def __init__(self, *versions: tuple[int, int]) -> None:
        self.versions = versions
        self.acks: list[tuple[int, int]] = []

    async def Join(self, request_iterator: AsyncIterator[governor_pb2.JoinRequest], context: Any) -> None:
        for epoch, revision in self.versions:
            levels = (OFFLOAD,) if (epoch, revision) == max(self.versions) else ()
            directive = Directive(epoch=epoch, revision=revision, levels=levels, offload_share=0.5)
            await context.write(governor_pb2.JoinResponse(directive=directive_to_proto(directive)))
        async for request in request_iterator:
            if request.HasField("ack"):
                self.acks.append((request.ack.epoch, request.ack.revision))


async def test_replayed_and_stale_directives_are_refused_by_every_member() -> None:
    liar = Liar((5, 2), (5, 1), (4, 9), (0, 0), (5, 2))
    add = governor_grpc.add_GovernorServiceServicer_to_server
    async with loopback(add, liar) as address, member(address, "a") as state:
        await until(lambda: state.stale == 3 and liar.acks)
        assert state.current is not None
        assert state.current.version == (5, 2)
        assert state.levels == (OFFLOAD,)
        assert set(liar.acks) == {(5, 2)}


class Babbler:
    """A governor whose first word to every member cannot be read, and whose second is a directive."""

    def __init__(self) -> None:
        self.joins = 0

    async def join(self, requests: AsyncIterator[bytes], context: Any) -> None:
        self.joins += 1
        if self.joins == 1:
            await context.write(b"\xff\xff")
        else:
            directive = directive_to_proto(Directive(epoch=5, revision=1, levels=(OFFLOAD,), offload_share=0.5))
            await context.write(governor_pb2.JoinResponse(directive=directive).SerializeToString())
        async for _ in requests:
            pass


def add_babbler(babbler: Babbler, server: grpc.aio.Server) -> None:
    methods = {"Join": grpc.stream_stream_rpc_method_handler(babbler.join)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("sluice.v1.GovernorService", methods),))


async def test_a_member_that_cannot_read_its_governor_dials_again_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with loopback(add_babbler, Babbler()) as address, member(address, "a") as state:
        await until(lambda: state.levels == (OFFLOAD,))
    assert not [record for record in caplog.records if record.exc_info]


def card(name: str, obeyed: Directive | None = None, *, directed: bool = False) -> governor_pb2.JoinRequest:
    registration = Registration(id=name, kind=CPU, address=f"{name}:1", obeyed=obeyed, is_directed=directed)
    return governor_pb2.JoinRequest(registration=registration_to_proto(registration))


async def test_a_governor_that_learns_of_a_later_one_lets_all_its_members_go_and_looks_on() -> None:
    theirs = Directive(epoch=5_000, revision=1)
    async with governing(100, lease_s=0.5) as (governor, address), stub_of(address) as stub:
        call = stub.Join()
        await call.write(card("mine"))
        assert (await asyncio.wait_for(call.read(), 10)).HasField("directive")
        assert await end_of(stub.Join(iter([card("theirs", theirs, directed=True)]))) is grpc.StatusCode.UNAVAILABLE
        assert await end_of(call) is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.SetDegradation(governor_pb2.SetDegradationRequest(reason="over"))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await until(lambda: not governor.is_standby)
        # Nobody has directed it for a lease: the other governor is gone.
        again = stub.Join()
        await again.write(card("theirs", theirs))
        assert (await asyncio.wait_for(again.read(), 10)).directive.epoch > 5_000


async def test_two_governors_of_one_fleet_end_as_one() -> None:
    async with governing(100, lease_s=1) as (lesser, one), governing(200, lease_s=1) as (greater, two):
        async with member(two, "a") as a:
            await until(lambda: a.current is not None and a.current.epoch == 200)
        # The same member, with what it obeys, at the lesser governor's door.
        state = ActiveDirective()
        state.apply(Directive(epoch=200, revision=1, lease_s=1.0), asyncio.get_running_loop().time())
        registration = Registration(id="a", kind=CPU, address="a:1")
        async with member(one, "b") as b:
            await until(lambda: b.current is not None)
            membership = GovernorClient(one, registration, report=idle, directives=state)
            running = asyncio.create_task(membership.run())
            await until(lambda: lesser.is_standby)
            await until(lambda: not lesser.table.members())
            # The greater one is never heard again, so the lesser takes over in the end, above it.
            await until(lambda: {one.id for one in lesser.table.members()} == {"a", "b"})
            assert lesser.controller.current.epoch > 200
            assert greater.controller.current.epoch == 200
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_a_member_that_floods_its_governor_is_slowed_down_and_nobody_else_notices() -> None:
    async with governing(report_interval_ms=500) as (governor, address), stub_of(address) as stub:
        read = 0
        report = governor.report

        def counting(member_id: str, one: Report) -> None:
            nonlocal read
            read += member_id == "flood"
            report(member_id, one)

        governor.report = counting  # type: ignore[method-assign]
        call = stub.Join()
        await call.write(card("flood"))

        async def flood() -> None:
            for number in range(100_000):
                reading = report_to_proto(measured(inflight=number))
                await call.write(governor_pb2.JoinRequest(report=reading))

        flooding = asyncio.create_task(flood())
        async with member(address, "quiet") as quiet:
            await until(lambda: quiet.current is not None)
            governor.override(OVERRIDE, duration_s=60)
            await until(lambda: quiet.levels == (LIGHTEN,))
            await until(lambda: read >= 5)
            sent = next(one for one in governor.table.members() if one.id == "flood").report
            assert sent is not None
            # Far more have come than were read, and those that were are the newest of their time.
            assert sent.inflight >= 2 * read
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        call.cancel()


async def test_only_so_many_watch_and_what_they_are_sent_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0

    def counting(*arguments: Any) -> Any:
        nonlocal made
        made += 1
        return fleet_to_proto(*arguments)

    monkeypatch.setattr(snapshots, "fleet_to_proto", counting)
    async with governing(max_watchers=20) as (governor, address), stub_of(address) as stub:
        calls = [stub.WatchFleet(governor_pb2.WatchFleetRequest(interval=Duration(seconds=600))) for _ in range(20)]
        for call in calls:
            await asyncio.wait_for(call.read(), 10)
        refused = stub.WatchFleet(governor_pb2.WatchFleetRequest())
        assert await end_of(refused) is grpc.StatusCode.RESOURCE_EXHAUSTED
        await asyncio.sleep(2 * SMALLEST_INTERVAL_S)
        made = 0
        governor.join(Registration(id="a", kind=CPU, address="a:1"))
        for call in calls:
            response = await asyncio.wait_for(call.read(), 10)
            assert [one.id for one in response.fleet.members] == ["a"]
            assert not response.transitions
        # One message for twenty, or a few where this machine took longer than a message's life to send them.
        assert made < 10
        calls[0].cancel()
        # Its place is free as soon as the governor has noticed.
        for _ in range(500):
            again = stub.WatchFleet(governor_pb2.WatchFleetRequest())
            if await begins(again):
                break
            await asyncio.sleep(0.01)
        else:
            raise AssertionError("the place was never given to another")
        for call in (*calls, again):
            call.cancel()


async def begins(call: Any) -> bool:
    """Whether a watch is answered rather than refused."""
    try:
        await asyncio.wait_for(call.read(), 10)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        return False
    return True


async def test_a_governor_that_is_killed_finds_its_history_and_a_greater_epoch_in_its_journal(tmp_path: Path) -> None:
    journal = tmp_path / "journal" / "governor.db"
    settings = {"governor": {"journal": str(journal)}}
    mesh = LocalMesh(settings, environ=os.environ, services=("governor",), free_ports=True, log_directory=tmp_path)
    async with mesh:
        process = mesh.processes["governor"]
        async with (
            stub_of(process.address) as stub,
            autonomous(process.address, "gpu", GPU, {"utilization": 0.97, "memory": 0.9}) as gpu,
        ):
            await until(lambda: gpu.levels == (OFFLOAD, LIGHTEN))
            before = await transitions_of(stub, 2)
            # What was announced is written within milliseconds.
            await asyncio.sleep(0.5)
            process.signal(signal.SIGKILL)
            assert await process.ended(10)
            mesh.start("governor")
            await process.ready(30)
            after = await transitions_of(stub, 3)
            assert after[:2] == before
            assert after[2].directive.levels == (OFFLOAD, LIGHTEN)
            assert after[2].directive.reason == "inherited from the members"
            assert after[2].directive.epoch > before[-1].directive.epoch
            assert gpu.levels == (OFFLOAD, LIGHTEN)
            shown = await levels_command(process.address)
            assert [one["after"] for one in shown] == [list(map(name, one.directive.levels)) for one in after]
            assert shown[0]["signals"]["utilization"] == after[0].signals.utilization


def name(level: Level) -> str:
    return level.name.lower()


async def levels_command(address: str) -> list[dict[str, Any]]:
    """What `sluice levels --json` prints."""
    command = ("-m", "sluice.cli.main", "levels", "--json", "--governor", address)
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    return [json.loads(line) for line in output.decode().splitlines()]
