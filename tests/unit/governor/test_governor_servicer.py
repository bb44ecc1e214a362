"""The governor's streams against members as slow or as quick as they can be."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from services.governor.config import GovernorConfig
from services.governor.control_loop import Governor
from services.governor.servicer import GovernorServicer
from sluice.control.codec import registration_to_proto, report_to_proto
from sluice.control.degradation.report import Report
from sluice.control.directive import Directive
from sluice.control.fleet import Registration
from sluice.domain.enums import Level, MemberKind
from sluice.v1 import governor_service_pb2 as governor_pb2
from tests.unit.polling import until
from tests.unit.streams import Aborted, SlowPeer, stop

NEVER_MS = 60_000.0
WORKER, ROUTER = MemberKind.CPU_WORKER, MemberKind.ROUTER
REPORT = governor_pb2.JoinRequest(report=report_to_proto(Report(measured_at=datetime(2026, 1, 1, tzinfo=UTC))))
NONSENSE = governor_pb2.JoinRequest()
Member = SlowPeer[governor_pb2.JoinRequest]


def card(name: str, kind: MemberKind = WORKER) -> Registration:
    return Registration(id=name, kind=kind, address=f"{name}:1")


def member(name: str, kind: MemberKind = WORKER) -> Member:
    return SlowPeer(governor_pb2.JoinRequest(registration=registration_to_proto(card(name, kind))))


def joins(governor: Governor, peer: Member) -> asyncio.Task[None]:
    async def run() -> None:
        try:
            await GovernorServicer(governor).join(peer.requests(), peer)  # type: ignore[arg-type]
        except Aborted:
            return

    return asyncio.create_task(run())


def fleets(peer: Member) -> list[list[str]]:
    seen = [one.fleet for one in peer.received if one.HasField("fleet")]
    return [[member.id for member in fleet.members] for fleet in seen]


@pytest.fixture
def governor() -> Governor:
    """A governor that renews nothing of its own accord, so that what comes was sent for a reason."""
    return Governor(GovernorConfig(renew_interval_ms=NEVER_MS, report_interval_ms=NEVER_MS), epoch=100)


async def test_a_slow_router_still_learns_of_a_member_that_came_while_it_was_written_to(governor: Governor) -> None:
    router = member("router", ROUTER)
    stream = joins(governor, router)
    await until(lambda: fleets(router) == [["router"]])
    router.reads.clear()
    router.is_written_to.clear()
    governor.join(card("a"))
    await asyncio.wait_for(router.is_written_to.wait(), 5)
    governor.join(card("b"))
    router.reads.set()
    await until(lambda: fleets(router)[-1] == ["a", "b", "router"])
    await stop(stream)


async def test_a_slow_member_gets_the_newest_directive_only(governor: Governor) -> None:
    slow = member("slow")
    stream = joins(governor, slow)
    await until(lambda: slow.received)
    slow.reads.clear()
    for level in (Level.OFFLOAD, Level.LIGHTEN, Level.ADMIT):
        governor.override(Directive(epoch=0, revision=0, levels=(level,)), duration_s=60)
        await asyncio.sleep(0.01)
    slow.reads.set()
    await until(lambda: slow.received[-1].directive.revision == 4)
    assert [one.directive.revision for one in slow.received] == [1, 2, 4]
    await stop(stream)


async def test_a_replaced_stream_ends_with_aborted_although_its_member_still_talks(governor: Governor) -> None:
    old, new = member("same"), member("same")
    old.reads.clear()
    first = joins(governor, old)
    await asyncio.wait_for(old.is_written_to.wait(), 5)
    second = joins(governor, new)
    await until(lambda: new.received)
    old.put(REPORT)
    await asyncio.sleep(0.02)
    old.reads.set()
    await asyncio.wait_for(first, 5)
    assert old.code is grpc.StatusCode.ABORTED
    assert [one.id for one in governor.table.members()] == ["same"]
    await stop(second)


async def test_a_member_is_told_of_its_mistake_although_it_was_being_written_to(governor: Governor) -> None:
    wrong = member("wrong")
    wrong.reads.clear()
    stream = joins(governor, wrong)
    await asyncio.wait_for(wrong.is_written_to.wait(), 5)
    wrong.put(NONSENSE)
    await asyncio.sleep(0.02)
    wrong.reads.set()
    await asyncio.wait_for(stream, 5)
    assert wrong.code is grpc.StatusCode.INVALID_ARGUMENT
    assert governor.table.members() == ()


async def test_a_member_that_half_closes_leaves_in_peace(governor: Governor) -> None:
    leaving = member("leaving")
    stream = joins(governor, leaving)
    await until(lambda: leaving.received)
    leaving.put(None)
    await asyncio.wait_for(stream, 5)
    assert leaving.code is None
    assert governor.table.members() == ()


async def test_a_watcher_misses_no_change_however_soon_it_follows_another(governor: Governor) -> None:
    request = governor_pb2.WatchFleetRequest(interval=Duration(seconds=600))
    seen: list[list[tuple[str, int]]] = []

    async def watch() -> None:
        context: Member = SlowPeer()
        async for data in GovernorServicer(governor).watch_fleet(request, context):  # type: ignore[arg-type]
            fleet = governor_pb2.WatchFleetResponse.FromString(data).fleet
            seen.append([(one.id, one.applied.revision) for one in fleet.members])

    watching = asyncio.create_task(watch())
    await until(lambda: seen == [[]])
    await asyncio.sleep(0.1)
    governor.join(card("a"))
    await until(lambda: len(seen) == 2)
    governor.acknowledge("a", (100, 1))
    await until(lambda: seen[-1] == [("a", 1)])
    await stop(watching)
