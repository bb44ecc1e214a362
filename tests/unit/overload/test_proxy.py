"""The proxy that stands for a network: it forwards, falls silent, comes back, and leads elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from benchmarks.overload.proxy import Proxy
from sluice.cli.addresses import choose_ports
from tests.unit.polling import until

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def echoing(prefix: bytes) -> AsyncIterator[str]:
    """The address of a server that says each line again behind `prefix`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(prefix + line)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        server.close()


class Caller:
    """A connection to the proxy, and all that has come over it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard = b""
        self.over = False
        self._reader, self._writer = reader, writer
        self._task = asyncio.ensure_future(self._read())

    @classmethod
    async def of(cls, address: str) -> Caller:
        host, _, port = address.rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def _read(self) -> None:
        try:
            while block := await self._reader.read(100):
                self.heard += block
        except ConnectionError:
            pass
        self.over = True

    def say(self, line: bytes) -> None:
        self._writer.write(line)

    async def close(self) -> None:
        self._writer.transport.abort()
        await until(lambda: self.over)


@pytest.fixture
async def proxied() -> AsyncIterator[tuple[Proxy, Caller]]:
    """A proxy in front of a server, and a caller that is connected."""
    async with echoing(b"one:") as address, Proxy(address, port=choose_ports(1)[0]) as proxy:
        caller = await Caller.of(proxy.address)
        yield proxy, caller
        await caller.close()


async def test_what_is_said_arrives(proxied: tuple[Proxy, Caller]) -> None:
    _, caller = proxied
    caller.say(b"hi\n")
    await until(lambda: caller.heard == b"one:hi\n")


async def test_while_it_is_cut_nothing_arrives_and_nothing_is_closed_and_later_all_does(
    proxied: tuple[Proxy, Caller],
) -> None:
    proxy, caller = proxied
    proxy.cut()
    caller.say(b"hi\n")
    late = await Caller.of(proxy.address)
    late.say(b"ho\n")
    await asyncio.sleep(0.05)
    assert (caller.heard, caller.over, late.heard, late.over) == (b"", False, b"", False)
    proxy.mend()
    await until(lambda: (caller.heard, late.heard) == (b"one:hi\n", b"one:ho\n"))
    await late.close()


async def test_who_dials_again_reaches_where_it_leads_now(proxied: tuple[Proxy, Caller]) -> None:
    proxy, caller = proxied
    caller.say(b"hi\n")
    await until(lambda: caller.heard)
    async with echoing(b"two:") as other:
        proxy.turn_to(other)
        await until(lambda: caller.over)
        again = await Caller.of(proxy.address)
        again.say(b"hi\n")
        await until(lambda: again.heard == b"two:hi\n")
        await again.close()


async def test_where_nobody_listens_a_connection_ends() -> None:
    async with Proxy(f"127.0.0.1:{choose_ports(1)[0]}", port=choose_ports(1)[0]) as proxy:
        caller = await Caller.of(proxy.address)
        await until(lambda: caller.over)
        await caller.close()
