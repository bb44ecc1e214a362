"""Bytes that are no message, sent to a real server: INVALID_ARGUMENT for their caller, one line in the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from sluice.transport.message_handlers import UNREADABLE, MessageHandlers
from sluice.v1 import governor_service_pb2 as governor_pb2
from tests.unit.streams import end_of

SERVICE = "test.Echo"
UNREAD = [b"\x0a\x02\xff\xff", b"\x0a\xff", b"\xff" * 20]
GOOD = governor_pb2.WatchFleetRequest(history=7)
KIND = governor_pb2.WatchFleetRequest


class Echo:
    """Gives back what it is given, as a message or as bytes."""

    async def one(self, request: governor_pb2.WatchFleetRequest, context: Any) -> governor_pb2.WatchFleetRequest:
        del context
        return request

    async def many(self, request: governor_pb2.WatchFleetRequest, context: Any) -> AsyncIterator[bytes]:
        del context
        for _ in range(3):
            yield request.SerializeToString()

    async def both(self, requests: AsyncIterator[governor_pb2.WatchFleetRequest], context: Any) -> None:
        async for request in requests:
            await context.write(request)


@asynccontextmanager
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    handlers, echo = MessageHandlers(SERVICE), Echo()
    methods = {
        "One": handlers.unary_unary(KIND, echo.one),
        "Many": handlers.unary_stream(KIND, echo.many),
        "Both": handlers.stream_stream(KIND, echo.both),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handlers.handler(methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as made:
            yield made
    finally:
        await server.stop(0)


async def code_of(made: grpc.aio.Channel, method: str, data: bytes) -> grpc.StatusCode:
    path = f"/{SERVICE}/{method}"
    if method == "One":
        call: Any = made.unary_unary(path)(data)
        return await call.code()  # type: ignore[no-any-return]
    call = made.unary_stream(path)(data) if method == "Many" else made.stream_stream(path)(iter([data]))
    return await end_of(call)


@pytest.mark.parametrize("method", ["One", "Many", "Both"])
async def test_bytes_that_are_no_message_are_their_callers_mistake(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with channel() as made:
        with caplog.at_level(logging.WARNING):
            for data in UNREAD * 20:
                assert await code_of(made, method, data) is grpc.StatusCode.INVALID_ARGUMENT
            assert await code_of(made, method, GOOD.SerializeToString()) is grpc.StatusCode.OK
    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in lines] == [UNREADABLE]
    assert vars(lines[0])["rpc_service"] == SERVICE


async def test_messages_pass_in_all_three_shapes() -> None:
    data = GOOD.SerializeToString()
    async with channel() as made:
        assert await made.unary_unary(f"/{SERVICE}/One")(data) == data
        assert [one async for one in made.unary_stream(f"/{SERVICE}/Many")(data)] == [data] * 3
        both = made.stream_stream(f"/{SERVICE}/Both")(iter([data, data]))
        assert [one async for one in both] == [data, data]


async def test_what_was_read_before_the_bytes_that_are_no_message_was_answered() -> None:
    async with channel() as made:
        call: Any = made.stream_stream(f"/{SERVICE}/Both")()
        await call.write(GOOD.SerializeToString())
        assert await asyncio.wait_for(call.read(), 10) == GOOD.SerializeToString()
        await call.write(UNREAD[0])
        assert await end_of(call) is grpc.StatusCode.INVALID_ARGUMENT
