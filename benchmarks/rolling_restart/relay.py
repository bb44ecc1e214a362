"""TCP relays that make a round trip longer: what goes in comes out after half of it, in each direction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def relays(targets: tuple[str, ...], *, round_trip_s: float) -> AsyncIterator[tuple[str, ...]]:
    """An address in front of each of `targets`, while the block runs. A target that refuses is refused here too."""
    servers = [await _relay(one, round_trip_s / 2) for one in targets]
    try:
        yield tuple(f"127.0.0.1:{one.sockets[0].getsockname()[1]}" for one in servers)
    finally:
        for one in servers:
            one.close()


async def _relay(target: str, delay_s: float) -> asyncio.Server:
    host, _, port = target.rpartition(":")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(_pump(reader, far_writer, delay_s), _pump(far_reader, writer, delay_s))
        for one in (writer, far_writer):
            one.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def write() -> None:
        while True:
            due_at, data = await late.get()
            await asyncio.sleep(max(0.0, due_at - loop.time()))
            if not data:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(data)

    writing = asyncio.create_task(write())
    try:
        while data := await reader.read(65_536):
            late.put_nowait((loop.time() + delay_s, data))
    except OSError:
        pass
    late.put_nowait((loop.time() + delay_s, b""))
    try:
        await writing
    except OSError:
        writing.cancel()
