"""A server on loopback that is scripted by a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import grpc

Servicer = TypeVar("Servicer")


@asynccontextmanager
async def loopback(
    add: Callable[[Servicer, grpc.aio.Server], None], servicer: Servicer, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[str]:
    """The address at which `servicer` is asked; `add` is the generated function that adds it to a server."""
    server = grpc.aio.server()
    add(servicer, server)
    port = server.add_insecure_port(f"{host}:{port}")
    await server.start()
    try:
        yield f"{host}:{port}"
    finally:
        await server.stop(None)
