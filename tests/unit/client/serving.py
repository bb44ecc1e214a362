"""A server on loopback that a test scripts: what the clients are tried against."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from sluice.v1 import inference_service_pb2_grpc as inference_grpc


@asynccontextmanager
async def serving(router: inference_grpc.InferenceServiceServicer) -> AsyncIterator[str]:
    """The address at which `router` is asked."""
    server = grpc.aio.server()
    inference_grpc.add_InferenceServiceServicer_to_server(router, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
