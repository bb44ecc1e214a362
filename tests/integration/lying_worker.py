"""A worker that says on Execute whatever a test wants, byte for byte."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from sluice.domain.enums import Tier
from sluice.domain.variant import Variant, to_proto
from sluice.v1 import worker_service_pb2 as worker_pb2
from tests.integration.fake_worker import answered, card

Said = worker_pb2.ExecuteResponse | bytes
Replies = Callable[[worker_pb2.ExecuteRequest], list[Said]]


def welcome(
    *variants: Variant, batches: int = 2, generations: int = 0, name: str = "liar"
) -> worker_pb2.ExecuteResponse:
    """A first message."""
    return worker_pb2.ExecuteResponse(
        welcome=worker_pb2.Welcome(worker=name, variants=map(to_proto, variants or [card(Tier.LIGHT)])),
        credit=worker_pb2.Credit(batches=batches, max_items=128, generations=generations),
    )


def truthful(request: worker_pb2.ExecuteRequest) -> list[Said]:
    """A right answer to a batch."""
    return [answered(request.batch)] if request.HasField("batch") else []


class LyingWorker:
    """Begins with `first`, and answers each request with what `replies` gives. `requests` counts batches and texts."""

    def __init__(self, *first: Said, replies: Replies = truthful) -> None:
        self.first = first
        self.replies = replies
        self.streams = 0
        self.requests = 0
        self.options: list[tuple[str, int]] = []

    async def execute(self, requests: AsyncIterator[bytes], context: Any) -> None:
        self.streams += 1
        for said in self.first:
            await context.write(_bytes(said))
        async for data in requests:
            request = worker_pb2.ExecuteRequest.FromString(data)
            if request.HasField("cancel"):
                continue
            self.requests += 1
            for said in self.replies(request):
                await context.write(_bytes(said))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """The worker's address."""
        methods = {"Execute": grpc.stream_stream_rpc_method_handler(self.execute)}
        server = grpc.aio.server(options=[("grpc.max_send_message_length", -1), *self.options])
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("sluice.v1.WorkerService", methods),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(None)


def _bytes(said: Said) -> bytes:
    return said if isinstance(said, bytes) else said.SerializeToString()
