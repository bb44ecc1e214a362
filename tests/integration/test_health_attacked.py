"""Odd callers of health and reflection, which every program serves: nobody is kept from hearing of a stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from h2.settings import SettingCodes

from benchmarks.attacks.raw_http2 import RawHttp2
from sluice.transport.server import READINESS, Server
from sluice.v1 import governor_service_pb2 as governor_pb2
from tests.integration.live_governor import governing
from tests.unit.polling import until
from tests.unit.streams import end_of

WATCH = "/grpc.health.v1.Health/Watch"
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
READY = health_pb2.HealthCheckRequest(service=READINESS)
SERVING, NOT_SERVING, UNKNOWN = 1, 2, 3
UNREAD = b"\x0a\x02\x0a\xff"


@asynccontextmanager
async def ready_server() -> AsyncIterator[tuple[Server, str]]:
    server = Server(listen="127.0.0.1:0", services=("test",))
    await server.start()
    await server.set_ready(ready=True)
    try:
        yield server, f"127.0.0.1:{server.port}"
    finally:
        await server.stop(0)


async def status(call: grpc.aio.UnaryStreamCall[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]) -> int:
    response = await asyncio.wait_for(call.read(), 10)
    assert isinstance(response, health_pb2.HealthCheckResponse)
    return int(response.status)


async def test_a_watcher_that_does_not_read_keeps_nobody_from_hearing_of_a_stop() -> None:
    async with (
        ready_server() as (server, address),
        grpc.aio.insecure_channel(address) as channel,
        RawHttp2(address) as deaf,
    ):
        deaf.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        for service in (READINESS, "", "test"):
            deaf.call(WATCH, health_pb2.HealthCheckRequest(service=service).SerializeToString())
        deaf.flush()
        stub = health_pb2_grpc.HealthStub(channel)
        watch, other = stub.Watch(READY), stub.Watch(READY)
        assert await status(watch) == await status(other) == SERVING
        await until(lambda: len(server.busy_callers(-1)) == 0 and server.callers() == 2)
        other.cancel()
        await asyncio.wait_for(server.set_ready(ready=False), 10)
        assert await status(watch) == NOT_SERVING
        assert (await stub.Check(READY)).status == NOT_SERVING


async def test_states_of_services_are_told_and_unknown_ones_are_unknown() -> None:
    async with ready_server() as (server, address), grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        unknown = health_pb2.HealthCheckRequest(service="nobody")
        assert await status(stub.Watch(unknown)) == UNKNOWN
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.Check(unknown)
        assert failed.value.code() is grpc.StatusCode.NOT_FOUND
        watch = stub.Watch(READY)
        seen = [await status(watch)]
        for ready in (False, True):
            await server.set_ready(ready=ready)
            seen.append(await status(watch))
        assert seen == [SERVING, NOT_SERVING, SERVING]
        assert (await stub.Check(health_pb2.HealthCheckRequest(service="liveness"))).status == SERVING


@pytest.mark.parametrize("data", [UNREAD, b"\x0a\xff\xff\x03" + b"x" * 65_535], ids=["no message", "large"])
async def test_bytes_that_are_no_message_and_large_ones_are_refused_without_a_traceback(
    caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    async with ready_server() as (_, address), grpc.aio.insecure_channel(address) as channel:
        raw: Any = channel
        with caplog.at_level(logging.WARNING):
            for _ in range(10):
                calls = (
                    raw.unary_unary("/grpc.health.v1.Health/Check")(data),
                    raw.unary_stream(WATCH)(data),
                    raw.stream_stream(REFLECT)(iter([data])),
                )
                codes = [await calls[0].code(), *[await end_of(call) for call in calls[1:]]]
                assert codes == [grpc.StatusCode.INVALID_ARGUMENT] * 3
        assert not [record for record in caplog.records if record.exc_info]
        assert len(caplog.records) <= 2


async def test_a_member_that_does_not_read_leaves_the_fleet_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    card = {"registration": {"id": "deaf", "kind": 3, "address": "127.0.0.1:1"}}
    message = governor_pb2.JoinRequest(**card).SerializeToString()  # type: ignore[arg-type]
    async with governing(report_interval_ms=20) as (governor, address), RawHttp2(address) as deaf:
        deaf.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        stream = deaf.call("/sluice.v1.GovernorService/Join", message, end=False)
        deaf.flush()
        await until(governor.table.members)
        await until(lambda: not governor.table.members())
        deaf.h2.end_stream(stream)
        deaf.flush()
        await asyncio.sleep(1.5)
    assert not [record for record in caplog.records if record.exc_info]
