"""A governor in this process, and members of it as real as those of the four programs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import grpc

from services.governor.config import GovernorConfig
from services.governor.control_loop import Governor
from services.governor.servicer import GovernorServicer
from sluice.control.degradation.report import Report
from sluice.control.directive import ActiveDirective
from sluice.control.fleet import Registration
from sluice.control.membership_client import GovernorClient
from sluice.domain.enums import MemberKind
from sluice.v1 import governor_service_pb2_grpc as governor_grpc

Stub = governor_grpc.GovernorServiceStub


@asynccontextmanager
async def governing(
    epoch: int = 100,
    port: int = 0,
    wall: Callable[[], float] = time.time,
    *,
    host: str = "127.0.0.1",
    **settings: Any,
) -> AsyncIterator[tuple[Governor, str]]:
    """A governor in this process, and its address. `wall` is its wall clock."""
    governor = Governor(GovernorConfig(**settings), epoch=epoch, wall=wall)
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((GovernorServicer(governor).handler(),))
    port = server.add_insecure_port(f"{host}:{port}")
    await server.start()
    ticking = asyncio.create_task(governor.run())
    try:
        yield governor, f"{host}:{port}"
    finally:
        ticking.cancel()
        governor.close()
        await server.stop(1.0)


@asynccontextmanager
async def stub_of(address: str) -> AsyncIterator[Stub]:
    """A channel to a governor."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield Stub(channel)


def idle() -> Report:
    """The report of a member that has nothing to do."""
    return Report(measured_at=datetime.now(UTC))


@asynccontextmanager
async def member(
    address: str,
    name: str,
    kind: MemberKind = MemberKind.CPU_WORKER,
    report: Callable[[], Report] = idle,
    wall: Callable[[], float] = time.time,
) -> AsyncIterator[ActiveDirective]:
    """A real member, and what it obeys. `wall` is its wall clock."""
    obeyed = ActiveDirective(wall=wall)
    registration = Registration(id=name, kind=kind, address=f"{name}:1")
    membership = GovernorClient(address, registration, report=report, directives=obeyed)
    running = asyncio.create_task(membership.run())
    try:
        yield obeyed
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
