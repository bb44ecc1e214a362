"""A governor's process and as many members as it takes, whose cards are long. Whoever reads it has a stock client."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from sluice.cli.mesh import free_port
from sluice.cli.process import ServiceProcess
from sluice.control.snapshot import SnapshotReader
from sluice.domain.enums import MemberKind, Task, Tier
from sluice.domain.variant import BatchTime, Variant, to_proto, variant_id
from sluice.v1 import degradation_pb2, health_pb2
from sluice.v1 import governor_service_pb2 as governor_pb2
from sluice.v1 import governor_service_pb2_grpc as governor_grpc

# What gRPC's clients take in every language unless they are told otherwise.
STOCK_BYTES = 4 * 1024 * 1024
CONNECTIONS = 8
# Members that say nothing for so long are no rival of what is looked at: the size of the fleet, and its changes.
RARELY = {
    "SLUICE_GOVERNOR_REPORT_INTERVAL_MS": "30000",
    "SLUICE_GOVERNOR_RENEW_INTERVAL_MS": "30000",
    "SLUICE_GOVERNOR_LEASE_S": "120",
    "SLUICE_GOVERNOR_AUTOMATIC": "false",
}


def long_card(number: int, card_bytes: int) -> Variant:
    """The card of one worker's only variant: its labels take about `card_bytes`."""
    labels = tuple(f"{number:04}-{place:059}" for place in range(card_bytes // 66))
    return Variant(
        id=variant_id(f"m{number}", Tier.LIGHT, "fp32"),
        model=f"m{number}",
        tier=Tier.LIGHT,
        task=Task.TEXT_CLASSIFICATION,
        labels=labels,
        profile=tuple(BatchTime(items=n, tokens=64, time_s=0.01 * n, deviation_s=0.001) for n in range(1, 33)),
    )


class Member:
    """One member's stream: it acknowledges each directive, and keeps what fleets it is sent."""

    def __init__(
        self, channel: grpc.aio.Channel, number: int, *, kind: MemberKind, variants: Sequence[Variant] = ()
    ) -> None:
        self.id = f"{kind.name.lower()}-{number:04}"
        self.sizes: list[int] = []
        self.fleet = health_pb2.Fleet()
        self.fleets = 0
        self._told = asyncio.Event()
        self._reader = SnapshotReader()
        self.labels = tuple(label for one in variants for label in one.labels)
        self._variants = [to_proto(one) for one in variants]
        self._call: Any = governor_grpc.GovernorServiceStub(channel).Join()
        self._registration = governor_pb2.Registration(
            id=self.id,
            kind=kind.value,  # type: ignore[arg-type]
            address=f"10.{number >> 8}.{number & 255}.1:1",
            boot=self.id,
        )

    async def run(self) -> None:
        """Be a member, for ever."""
        await self._call.write(governor_pb2.JoinRequest(registration=self._registration))
        await self.report()
        async for response in self._call:
            self.sizes.append(response.ByteSize())
            if response.HasField("directive"):
                ack = degradation_pb2.DirectiveAck(epoch=response.directive.epoch, revision=response.directive.revision)
                await self._call.write(governor_pb2.JoinRequest(ack=ack))
            else:
                self._take(response.fleet)

    async def report(self, *, draining: bool = False) -> None:
        """Say how it does; whether it drains is what others decide by."""
        report = health_pb2.HealthReport(variants=self._variants, draining=draining)
        report.measured_at.GetCurrentTime()
        await self._call.write(governor_pb2.JoinRequest(report=report))

    def _take(self, part: health_pb2.Fleet) -> None:
        whole = self._reader.add(part)
        if whole is not None:
            self.fleet = whole
            self.fleets += 1
            self._told.set()

    async def until_told(self, holds: Callable[[health_pb2.Fleet], bool], limit_s: float) -> None:
        """Return when a fleet that it was sent is as `holds` says, which must be within `limit_s`."""
        async with asyncio.timeout(limit_s):
            while not holds(self.fleet):
                self._told.clear()
                await self._told.wait()


@asynccontextmanager
async def governor_process(directory: Path) -> AsyncIterator[ServiceProcess]:
    """A governor of a process's own."""
    address = f"127.0.0.1:{free_port()}"
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("SLUICE_")}
    environ = {**inherited, "SLUICE_CONFIG": os.devnull, "SLUICE_GOVERNOR_LISTEN": address, **RARELY}
    process = ServiceProcess("governor", address=address, environ=environ, log=directory / "governor.log")
    process.start()
    try:
        await process.ready(30)
        yield process
    finally:
        # How it stops is looked at elsewhere, and it would wait for the connections to grow old.
        process.signal(signal.SIGKILL)
        await process.ended(10)


@asynccontextmanager
async def fleet_of(address: str, workers: int, *, card_bytes: int) -> AsyncIterator[tuple[Member, list[Member]]]:
    """A router, and so many workers with cards of so many bytes, all of them members from the start to the end."""
    # Channels with the same options would share one connection.
    channels = [
        grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),)) for _ in range(CONNECTIONS)
    ]
    router = Member(channels[0], workers, kind=MemberKind.ROUTER)
    members = [
        Member(
            channels[number % CONNECTIONS],
            number,
            kind=MemberKind.CPU_WORKER,
            variants=[long_card(number, card_bytes)],
        )
        for number in range(workers)
    ]
    try:
        # A member whose stream ends with an error ends the test.
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one.run()) for one in (router, *members)]
            yield router, members
            for task in tasks:
                task.cancel()
    finally:
        for channel in channels:
            await channel.close(None)
