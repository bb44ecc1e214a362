"""Peers that say anything: a worker that routers dial, and a governor that members obey."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import grpc

from sluice.v1 import governor_service_pb2 as governor_pb2
from sluice.v1 import worker_service_pb2 as worker_pb2
from tests.fuzz.message_generator import random_bytes_of
from tests.fuzz.targets import WORDS

# Of so many messages one is random, so that streams live long enough to get somewhere.
ONE_IN = 8


class LyingWorker:
    """Serves `Execute` with a right card and right answers, but for every eighth message, which is random."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.sent = 0

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """What a server is given."""
        methods = {"Execute": grpc.stream_stream_rpc_method_handler(self.execute)}
        return grpc.method_handlers_generic_handler("sluice.v1.WorkerService", methods)

    async def execute(self, requests: AsyncIterator[bytes], context: Any) -> None:
        """One router's stream."""
        first = worker_pb2.ExecuteResponse(credit={"batches": 2, "max_items": 8, "generations": 2})
        first.welcome.worker = f"liar-{self._rng.randrange(5)}"
        for tier, name in ((1, "quantized"), (2, "light")):
            point = {"items": 1, "tokens": 8, "time": {"nanos": 1_000_000}}
            first.welcome.variants.add(
                id=f"echo/{name}-fp32", model="echo", tier=tier, task=1, precision="fp32", state=2,
                max_batch_size=8, max_tokens=512, quality=0.9, profile=[point],
            )  # fmt: skip
        await self._write(context, first)
        async for data in requests:
            request = worker_pb2.ExecuteRequest.FromString(data)
            if request.HasField("batch"):
                response = worker_pb2.ExecuteResponse(credit={"batches": 1, "max_items": 8})
                response.result.batch_id = request.batch.id
                for item in request.batch.items:
                    response.result.results.add(id=item.id).classification.label = "liar"
                await self._write(context, response)
            elif request.HasField("generation"):
                response = worker_pb2.ExecuteResponse()
                response.pieces.add(id=request.generation.id, text="lie", tokens=1, finish_reason=1)
                await self._write(context, response)

    async def _write(self, context: Any, message: worker_pb2.ExecuteResponse) -> None:
        self.sent += 1
        if self._rng.randrange(ONE_IN) == 0:
            await context.write(random_bytes_of(self._rng, message, words=WORDS))
        else:
            await context.write(message.SerializeToString())


class LyingGovernor:
    """Serves `Join` with directives and fleets of which every eighth is random."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._revisions = itertools.count(1)
        self.sent = 0

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """What a server is given."""
        methods = {"Join": grpc.stream_stream_rpc_method_handler(self.join)}
        return grpc.method_handlers_generic_handler("sluice.v1.GovernorService", methods)

    async def join(self, requests: AsyncIterator[bytes], context: Any) -> None:
        """One member's stream, for a while."""
        del requests
        for _ in range(self._rng.randint(1, 60)):
            response = governor_pb2.JoinResponse()
            if self._rng.random() < 0.5:
                response.directive.epoch, response.directive.revision = 1, next(self._revisions)
            else:
                response.fleet.members.add(id="fake", kind=3, address="127.0.0.1:1")
            self.sent += 1
            if self._rng.randrange(ONE_IN) == 0:
                await context.write(random_bytes_of(self._rng, response, words=WORDS))
            else:
                await context.write(response.SerializeToString())
            await asyncio.sleep(0.02)


@asynccontextmanager
async def serving(peer: LyingWorker | LyingGovernor, port: int) -> AsyncIterator[None]:
    """`peer` listens on loopback, while the block runs."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((peer.handler(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)
