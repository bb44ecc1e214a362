"""As many members as a governor takes, with long cards: what is sent to those who read the fleet."""

from __future__ import annotations

from pathlib import Path

import grpc

from sluice.control.snapshot import SnapshotReader
from sluice.v1 import governor_service_pb2 as governor_pb2
from sluice.v1 import governor_service_pb2_grpc as governor_grpc
from sluice.v1 import health_pb2
from tests.integration.large_fleet import STOCK_BYTES, fleet_of, governor_process

# A router is the last of the 1,024 that a governor takes by default.
WORKERS = 1_023
CARD_BYTES = 16 * 1024


async def watched(address: str) -> tuple[health_pb2.Fleet, list[int]]:
    """The first whole fleet that a stock client is told by WatchFleet, and the sizes of the messages that it took."""
    reader, sizes = SnapshotReader(), []
    async with grpc.aio.insecure_channel(address) as channel:
        async for response in governor_grpc.GovernorServiceStub(channel).WatchFleet(governor_pb2.WatchFleetRequest()):
            sizes.append(response.ByteSize())
            fleet = reader.add(response.fleet)
            if fleet is not None:
                return fleet, sizes
    raise AssertionError("the call ended")


async def test_a_stock_client_is_told_the_whole_of_the_largest_fleet(tmp_path: Path) -> None:
    async with (
        governor_process(tmp_path) as governor,
        fleet_of(governor.address, WORKERS, card_bytes=CARD_BYTES) as (router, workers),
    ):

        def is_whole(fleet: health_pb2.Fleet) -> bool:
            return sum(bool(member.report.variants) for member in fleet.members) == WORKERS

        await router.until_told(is_whole, 60)
        fleet, sizes = await watched(governor.address)
        assert is_whole(fleet)
        assert fleet.ByteSize() > 2 * STOCK_BYTES
        assert max(*sizes, *router.sizes) < STOCK_BYTES
        for told in (fleet, router.fleet):
            assert {one.id for one in told.members} == {router.id, *(one.id for one in workers)}
            labels = {one.id: tuple(one.report.variants[0].labels) for one in told.members if one.id != router.id}
            assert labels == {one.id: one.labels for one in workers}

        # What changes then is told, too.
        await workers[0].report(draining=True)
        await router.until_told(
            lambda told: [one.id for one in told.members if one.report.draining] == [workers[0].id], 30
        )
        assert max(router.sizes) < STOCK_BYTES
        assert "Traceback" not in governor.log.read_text(encoding="utf-8")
