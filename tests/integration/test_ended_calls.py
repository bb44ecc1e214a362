"""A call whose deadline passes at the moment of its answer is no error of ours."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
import pytest

from benchmarks.attacks.raw_http2 import RawHttp2
from sluice.domain.errors import Expired
from sluice.domain.status import abort
from sluice.transport import ended_calls
from sluice.transport.ended_calls import GRPC_LOGGER
from sluice.transport.server import Server

ANSWER_S = 0.03
# Where a deadline falls against the answer is luck, so it is tried until it was seen.
ROUNDS = 60


async def returns(data: bytes, context: Any) -> bytes:
    """Answer when some deadlines pass."""
    await asyncio.sleep(ANSWER_S)
    return data


async def aborts(data: bytes, context: Any) -> bytes:
    """Refuse when some deadlines pass."""
    await asyncio.sleep(ANSWER_S)
    await abort(context, Expired("too late"))


async def fails(data: bytes, context: Any) -> bytes:
    """Have a mistake in it."""
    raise ValueError("a mistake")


async def calls_that_end(address: str, method: str) -> None:
    """Send calls whose deadlines pass about when they are answered. A gRPC library would cancel them itself."""
    async with RawHttp2(address) as connection:
        for number in range(90):
            connection.call(f"/test/{method}", b"", ("grpc-timeout", f"{ANSWER_S * 1000 - 2 + number % 6:.0f}m"))
        connection.flush()
        await asyncio.sleep(2 * ANSWER_S)


@pytest.mark.parametrize("method", ["returns", "aborts"])
async def test_an_answer_that_comes_too_late_logs_no_error(method: str, caplog: pytest.LogCaptureFixture) -> None:
    server = Server(listen="127.0.0.1:0", services=())
    methods = {one.__name__: grpc.unary_unary_rpc_method_handler(one) for one in (returns, aborts, fails)}
    server.grpc_server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", methods),))
    await server.start()
    address = f"127.0.0.1:{server.port}"
    caplog.set_level(logging.DEBUG, logger=ended_calls.__name__)
    for _ in range(ROUNDS):
        await calls_that_end(address, method)
        if any(one.name == ended_calls.__name__ for one in caplog.records):
            break
    else:
        pytest.fail("no answer came too late")
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]
    # What is a mistake of ours is still told.
    async with grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary("/test/fails")(b"", timeout=5)
    assert [one.name for one in caplog.records if one.levelno >= logging.ERROR] == [GRPC_LOGGER]
    await server.stop(0)
