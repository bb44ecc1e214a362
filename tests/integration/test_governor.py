"""The control plane's contract over real streams, and what becomes of a real mesh when its governor speaks or dies."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from services.governor.control_loop import Governor
from sluice import AsyncClient
from sluice.cli.mesh import LocalMesh, free_port
from sluice.control.degradation.report import Report
from sluice.control.directive import Directive
from sluice.domain.enums import Level, MemberKind
from sluice.v1 import degradation_pb2, health_pb2
from sluice.v1 import governor_service_pb2 as governor_pb2
from tests.integration.live_governor import Stub, governing, idle, member, stub_of
from tests.unit.polling import until
from tests.unit.streams import end_of

WORKER, ROUTER = MemberKind.CPU_WORKER, MemberKind.ROUTER
OVERRIDE = Directive(epoch=0, revision=0, levels=(Level.LIGHTEN,), lighten_share=1.0)


def card(name: str = "w", kind: int = WORKER, address: str = "10.0.0.1:1", **more: Any) -> governor_pb2.JoinRequest:
    registration = governor_pb2.Registration(id=name, kind=kind, address=address, **more)  # type: ignore[arg-type]
    return governor_pb2.JoinRequest(registration=registration)


def report(**more: Any) -> governor_pb2.JoinRequest:
    return governor_pb2.JoinRequest(report=health_pb2.HealthReport(**more))


async def joined(stub: Stub, request: governor_pb2.JoinRequest) -> Any:
    """A stream whose first directive has come."""
    call = stub.Join()
    await call.write(request)
    first = await asyncio.wait_for(call.read(), 10)
    assert first.HasField("directive")
    return call


def override(*levels: Level, seconds: float = 60, **numbers: float) -> governor_pb2.SetDegradationRequest:
    degradation = degradation_pb2.Degradation(levels=levels, **numbers)  # type: ignore[arg-type]
    duration = Duration(nanos=int(seconds * 1e9)) if seconds < 1 else Duration(seconds=int(seconds))
    return governor_pb2.SetDegradationRequest(degradation=degradation, duration=duration, reason="rehearsal")


OBEYS = degradation_pb2.Directive
BREACHES = {
    "nothing": [],
    "a report first": [report()],
    "an empty message first": [governor_pb2.JoinRequest()],
    "no id": [card(name="")],
    "no address": [card(address="")],
    "no kind": [card(kind=0)],
    "unknown kind": [card(kind=9)],
    "unknown level": [card(obeyed=OBEYS(epoch=1, degradation={"levels": [9]}))],
    "no epoch left": [card(obeyed=OBEYS(epoch=2**64 - 1))],
    "registered twice": [card(), card()],
    "an empty message": [card(), governor_pb2.JoinRequest()],
    "unknown variant state": [card(), report(variants=[{"id": "m/light-fp32", "tier": 2, "task": 1}])],
    "a long id": [card(name="w" * 257)],
    "a long address": [card(address="a" * 513)],
    "a long reason": [card(obeyed=OBEYS(epoch=1, reason="x" * 1_025))],
    "a share that is none": [card(obeyed=OBEYS(epoch=1, degradation={"offload_share": float("nan")}))],
    "a lease for ever": [card(obeyed=OBEYS(epoch=1, lease={"seconds": 10**9}))],
    "many levels": [card(obeyed=OBEYS(epoch=1, degradation={"levels": [1] * 17}))],
    "tier 0": [card(), report(variants=[{"id": "m/unspecified-fp32", "model": "m", "task": 1, "precision": "fp32"}])],
    "many variants": [card(), report(variants=[{}] * 257)],
    "long trouble": [card(), report(swap_trouble="x" * 4_097)],
    "a share in force that is none": [card(), report(in_force={"admit_scale": -1})],
    "no such instant": [card(), report(measured_at={"seconds": 2**60})],
}


@pytest.mark.parametrize("requests", BREACHES.values(), ids=BREACHES)
async def test_a_member_that_breaks_the_contract_is_refused_and_harms_nobody(
    requests: list[governor_pb2.JoinRequest],
) -> None:
    async with governing(renew_interval_ms=20) as (governor, address), stub_of(address) as stub:
        other = await joined(stub, card("other", address="10.0.0.2:1"))
        assert await end_of(stub.Join(iter(requests))) is grpc.StatusCode.INVALID_ARGUMENT
        await until(lambda: [one.id for one in governor.table.members()] == ["other"])
        assert (await asyncio.wait_for(other.read(), 10)).HasField("directive")


async def test_an_id_belongs_to_its_address_while_its_member_lives() -> None:
    async with governing(report_interval_ms=60_000) as (governor, address), stub_of(address) as stub:
        first = await joined(stub, card())
        assert await end_of(stub.Join(iter([card(address="10.0.0.2:1")]))) is grpc.StatusCode.ALREADY_EXISTS
        again = await joined(stub, card())
        assert await end_of(first) is grpc.StatusCode.ABORTED
        await again.write(report(draining=True))
        await until(lambda: [one.report and one.report.draining for one in governor.table.members()] == [True])


async def test_the_directive_comes_first_and_again_and_the_fleet_goes_to_routers_only() -> None:
    async with governing(renew_interval_ms=20) as (_, address), stub_of(address) as stub:
        worker, router = await joined(stub, card()), await joined(stub, card("r", ROUTER, "10.0.0.2:1"))
        heard = [await asyncio.wait_for(worker.read(), 10) for _ in range(3)]
        assert {(one.directive.epoch, one.directive.revision) for one in heard} == {(100, 1)}
        kinds = [(await asyncio.wait_for(router.read(), 10)).WhichOneof("kind") for _ in range(4)]
        assert sorted(kinds) == ["directive", "directive", "directive", "fleet"]


async def test_who_is_silent_is_no_longer_part_of_the_fleet() -> None:
    async with governing(report_interval_ms=50) as (governor, address), stub_of(address) as stub:
        call = await joined(stub, card())
        assert await end_of(call) is grpc.StatusCode.ABORTED
        assert governor.table.members() == ()


async def test_a_governor_that_stops_tells_its_members_and_watchers_to_try_again() -> None:
    async with governing() as (governor, address), stub_of(address) as stub:
        call = await joined(stub, card())
        watch = stub.WatchFleet(governor_pb2.WatchFleetRequest())
        assert [one.id for one in (await watch.read()).fleet.members] == ["w"]
        governor.close()
        assert await end_of(call) is await end_of(watch) is grpc.StatusCode.UNAVAILABLE


async def test_an_operators_reason_is_bounded_and_its_field_is_named() -> None:
    async with governing() as (governor, address), stub_of(address) as stub:
        for size, code in ((3_000_000, grpc.StatusCode.INVALID_ARGUMENT), (1_001, grpc.StatusCode.INVALID_ARGUMENT)):
            with pytest.raises(grpc.aio.AioRpcError, match="reason: it has") as caught:
                await stub.SetDegradation(governor_pb2.SetDegradationRequest(reason="x" * size))
            assert caught.value.code() is code
        assert governor.controller.current.version == (100, 1)
        await stub.SetDegradation(governor_pb2.SetDegradationRequest(reason="x" * 1_000))


@pytest.mark.parametrize("request_", [override(Level.OFFLOAD, seconds=0), override(Level.ADMIT, admit_scale=2)])
async def test_a_wrong_override_changes_nothing(request_: governor_pb2.SetDegradationRequest) -> None:
    async with governing() as (governor, address), stub_of(address) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.SetDegradation(request_)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert governor.controller.current.version == (100, 1)


def all_obey(governor: Governor, members: int) -> bool:
    applied = [one.applied for one in governor.table.members()]
    return applied == [governor.controller.current.version] * members


async def test_an_override_reaches_every_member_and_expires_by_itself() -> None:
    async with (
        governing() as (governor, address),
        stub_of(address) as stub,
        member(address, "a") as a,
        member(address, "r", ROUTER) as r,
    ):
        await until(lambda: all_obey(governor, 2))
        said = (await stub.SetDegradation(override(Level.OFFLOAD, Level.ADMIT, seconds=0.5, admit_scale=0.5))).directive
        assert list(said.degradation.levels) == [1, 3]
        await until(lambda: a.levels == r.levels == (Level.OFFLOAD, Level.ADMIT))
        assert a.current is not None
        assert a.current.admit_scale == 0.5
        await until(lambda: a.levels == r.levels == () and all_obey(governor, 2))


async def test_a_restarted_governor_begins_with_the_union_of_what_its_members_obey() -> None:
    port = free_port()
    async with member(f"127.0.0.1:{port}", "a") as a, member(f"127.0.0.1:{port}", "r", ROUTER) as r:
        async with governing(500, port, lease_s=1) as (governor, _):
            governor.override(OVERRIDE, duration_s=60)
            await until(lambda: a.levels == r.levels == (Level.LIGHTEN,))
        # Its clock was set back meanwhile, so its own epoch would be older than what the members obey: it waits until
        # it is sure that nobody else directs them.
        async with governing(100, port, lease_s=1) as (governor, _):
            await until(lambda: all_obey(governor, 2))
            assert governor.controller.current.epoch > 500
            assert a.levels == r.levels == governor.controller.current.levels == (Level.LIGHTEN,)


async def test_a_member_that_dials_again_is_still_known_to_obey() -> None:
    async with governing() as (governor, address), member(address, "a"):
        await until(lambda: all_obey(governor, 1))
        ticket = governor.table._seats["a"].ticket
        # As if its stream had broken, which it notices and mends.
        governor.leave("a", ticket)
        await until(lambda: "a" in governor.table._seats and governor.table._seats["a"].ticket > ticket)
        await until(lambda: all_obey(governor, 1))


async def test_members_stay_whatever_report_interval_the_governor_is_given() -> None:
    async with governing(report_interval_ms=50) as (governor, address), member(address, "a"):
        await until(governor.table.members)
        before = governor.table._seats["a"].ticket
        await asyncio.sleep(1.0)
        assert governor.table._seats["a"].ticket == before


async def test_a_report_that_cannot_be_made_does_not_cost_its_member_its_place_for_good() -> None:
    made: list[Report] = []

    def fails_once() -> Report:
        made.append(idle())
        if len(made) == 2:
            raise ZeroDivisionError("a sensor said nothing")
        return made[-1]

    async with governing(report_interval_ms=50) as (governor, address), member(address, "a", report=fails_once):
        await until(lambda: len(made) > 4)
        await until(lambda: all_obey(governor, 1))


async def levels_of(client: AsyncClient) -> tuple[Level, ...]:
    return (await client.infer("text")).levels


async def test_a_mesh_keeps_its_level_when_the_governor_is_killed_and_when_an_empty_one_takes_its_place(
    identity_mesh: LocalMesh,
) -> None:
    governor = identity_mesh.processes["governor"]
    async with stub_of(governor.address) as stub, AsyncClient(identity_mesh.router) as client:
        assert await levels_of(client) == ()
        said = (await stub.SetDegradation(override(Level.OFFLOAD, Level.LIGHTEN))).directive
        await acknowledged(stub, said.epoch)
        assert await levels_of(client) == (Level.OFFLOAD, Level.LIGHTEN)
        governor.signal(signal.SIGKILL)
        assert await governor.ended(10)
        assert await levels_of(client) == (Level.OFFLOAD, Level.LIGHTEN)
        identity_mesh.start("governor")
        await governor.ready(30)
        fleet = await acknowledged(stub, said.epoch + 1)
        assert list(fleet.directive.degradation.levels) == [1, 2]
        assert await levels_of(client) == (Level.OFFLOAD, Level.LIGHTEN)
        await stub.SetDegradation(governor_pb2.SetDegradationRequest(reason="over"))
        await acknowledged(stub, said.epoch + 1)
        assert await levels_of(client) == ()


async def acknowledged(stub: Stub, least_epoch: int) -> health_pb2.Fleet:
    """The fleet when router and workers have acknowledged the directive in force."""
    request = governor_pb2.WatchFleetRequest(interval=Duration(nanos=100_000_000))
    async with asyncio.timeout(20):
        async for response in stub.WatchFleet(request, wait_for_ready=True):
            fleet: health_pb2.Fleet = response.fleet
            version = (fleet.directive.epoch, fleet.directive.revision)
            applied = [(one.applied.epoch, one.applied.revision) for one in fleet.members]
            if version[0] >= least_epoch and applied == [version] * 3:
                return fleet
    raise AssertionError("the watch ended")
