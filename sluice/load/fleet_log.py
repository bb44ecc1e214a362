"""What the governor's fleet looked like while a run went on: levels, signals and queues, as rows for its results."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import grpc

from sluice.control.codec import fleet_from_proto
from sluice.control.fleet import Fleet
from sluice.control.snapshot import snapshots
from sluice.domain.enums import MemberKind
from sluice.domain.status import duration
from sluice.runtime.channel import peer_channel
from sluice.v1 import governor_service_pb2 as governor_pb2
from sluice.v1 import governor_service_pb2_grpc as governor_grpc

INTERVAL_S = 0.2
REDIAL_S = 0.2


class FleetLog:
    """Appends a row to `entries` whenever the fleet changes and at least every `interval_s` seconds.

    While the governor cannot be reached, rows say so in `lost`.
    """

    def __init__(
        self, governor: str, *, begin_at: float, entries: list[Mapping[str, Any]], interval_s: float = INTERVAL_S
    ) -> None:
        self._governor = governor
        self._begin_at = begin_at
        self._entries = entries
        self._interval_s = interval_s

    async def run(self) -> None:
        """Watch until cancelled."""
        request = governor_pb2.WatchFleetRequest(interval=duration(self._interval_s))
        async with peer_channel(self._governor) as channel:
            stub = governor_grpc.GovernorServiceStub(channel)
            while True:
                why = "it ended the stream"
                try:
                    async for fleet, _ in snapshots(stub.WatchFleet(request)):
                        self._entries.append(row(fleet_from_proto(fleet), self._now_s()))
                except grpc.aio.AioRpcError as error:
                    why = error.code().name
                except ValueError as error:
                    why = str(error)
                self._entries.append({"at_s": round(self._now_s(), 3), "lost": why})
                await asyncio.sleep(REDIAL_S)

    def _now_s(self) -> float:
        return time.monotonic() - self._begin_at


def row(fleet: Fleet, at_s: float) -> dict[str, Any]:
    """One moment of the fleet: the directive, what it was decided by (None: unknown), and what the routers hold."""
    directive = fleet.directive
    routers = [one for one in fleet.members if one.kind is MemberKind.ROUTER]
    return {
        "at_s": round(at_s, 3),
        "epoch": directive.epoch,
        "revision": directive.revision,
        "levels": [level.value for level in directive.levels],
        "offload_share": directive.offload_share,
        "lighten_share": directive.lighten_share,
        "precision": directive.precision.label,
        "admit_scale": directive.admit_scale,
        "reason": directive.reason,
        "members": len(fleet.members),
        "obeying": sum(one.applied == directive.version for one in fleet.members),
        "hot_queued": sum(one.report.hot_queued for one in routers if one.report),
        "cold_queued": sum(one.report.cold_queued for one in routers if one.report),
        "requests_per_second": sum(one.report.requests_per_second for one in routers if one.report),
        "deciding_alone": sum(one.report.decides_alone for one in fleet.members if one.report),
        **asdict(fleet.signals),
    }
