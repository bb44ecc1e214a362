"""A worker in this process: real but for its backend, whose every output the test decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sluice.runtime.config import TelemetryConfig
from sluice.runtime.tracing import Tracing
from sluice.transport.server import READINESS, Server
from sluice.v1 import worker_service_pb2_grpc as worker_grpc
from sluice.worker.server.servicer import SERVICE, WorkerServicer
from sluice.worker.server.tracing import WorkerSpans
from tests.unit.worker.bench import Bench, bench

CREDITS, MAX_ITEMS = 2, 4


class Worker:
    """A whole worker in this process over a scripted backend."""

    def __init__(self, made: Bench, tracing: Tracing) -> None:
        self.bench = made
        self.server = Server(listen="127.0.0.1:0", services=(SERVICE,))
        self.servicer = WorkerServicer(
            worker="w1",
            catalog=made.catalog,
            device=made.device,
            spans=WorkerSpans(tracing, worker="w1"),
            credits_=CREDITS,
            max_items=MAX_ITEMS,
        )
        self.server.grpc_server.add_generic_rpc_handlers((self.servicer.handler(),))
        self.address = f"127.0.0.1:{self.server.port}"
        self.channel = grpc.aio.insecure_channel(self.address)
        self.stub = worker_grpc.WorkerServiceStub(self.channel)

    async def says_serving(self, service: str = READINESS) -> bool:
        """What its health service says of `service`."""
        response = await health_pb2_grpc.HealthStub(self.channel).Check(health_pb2.HealthCheckRequest(service=service))
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    async def opened(self) -> Any:
        """A router's stream that has been welcomed."""
        call = self.stub.Execute()
        assert (await read(call)).welcome.worker == "w1"
        return call


@asynccontextmanager
async def working(root: Path = Path(), **options: Any) -> AsyncIterator[Worker]:
    """A worker that holds `m/light-fp32`; `options` are those of a bench."""
    tracing = Tracing(service="test", config=TelemetryConfig())
    async with bench(root=root, **options) as made:
        running = Worker(made, tracing)
        await running.server.start()
        await running.server.set_ready(ready=True)
        try:
            yield running
        finally:
            for backend in made.made:
                backend.go_on.set()
            await running.channel.close(None)
            await running.server.stop(0)
    tracing.close()


async def read(call: Any) -> Any:
    """The stream's next message."""
    return await asyncio.wait_for(call.read(), 10)
