"""A router in this process with its public face, in front of a worker that the test writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
from grpc.aio import EOF  # type: ignore[attr-defined]

from services.router.api.inference_servicer import SERVICE, InferenceServicer
from services.router.api.open_inference_servicer import OpenInferenceServicer
from services.router.observability.tracing import RequestSpans
from services.router.router import Router
from sluice.runtime.config import TelemetryConfig
from sluice.runtime.tracing import Tracing
from sluice.transport.server import Server
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import inference_service_pb2_grpc as inference_grpc
from tests.integration.fake_worker import FakeWorker, router_to, serving

INFER_STREAM = "/sluice.v1.InferenceService/InferStream"


class Face:
    """Where to ask, and the core behind it."""

    def __init__(self, router: Router, tracing: Tracing) -> None:
        self.router = router
        self.server = Server(listen="127.0.0.1:0", services=(SERVICE,))
        self.servicer = InferenceServicer(router, RequestSpans(tracing))
        oip = OpenInferenceServicer(router, RequestSpans(tracing))
        self.server.grpc_server.add_generic_rpc_handlers((self.servicer.handler(), oip.handler()))
        self.address = f"127.0.0.1:{self.server.port}"
        self.channel = grpc.aio.insecure_channel(self.address)
        self.stub = inference_grpc.InferenceServiceStub(self.channel)

    def raw_stream(self) -> Any:
        """A stream on which any bytes can be sent."""
        parse = inference_pb2.InferStreamResponse.FromString
        opened: Any = self.channel.stream_stream(INFER_STREAM, response_deserializer=parse)  # type: ignore[call-arg]
        return opened()


@asynccontextmanager
async def face_of(router: Router) -> AsyncIterator[Face]:
    """Where `router` takes calls."""
    tracing = Tracing(service="test", config=TelemetryConfig())
    face = Face(router, tracing)
    await face.server.start()
    # Our clients check health, and use no router that takes no work.
    await face.server.set_ready(ready=True)
    try:
        yield face
    finally:
        await face.channel.close(None)
        await face.server.stop(0)
        tracing.close()


@asynccontextmanager
async def facing(worker: FakeWorker, **settings: Any) -> AsyncIterator[Face]:
    """A router to `worker` that takes calls."""
    async with serving(worker) as address, router_to(address, **settings) as router, face_of(router) as face:
        try:
            yield face
        finally:
            worker.release.set()


def asks(*numbers: int, cancels: Iterable[int] = (), **fields: Any) -> inference_pb2.InferStreamRequest:
    """A message with one text for each of `numbers`, alike in `fields`; `timeout` is the item's own."""
    timeout = fields.pop("timeout", None)
    request = inference_pb2.InferRequest(**{"text": "text", "query_class": 1, **fields})
    message = inference_pb2.InferStreamRequest(cancelled_ids=cancels)
    for number in numbers:
        message.items.add(id=number, request=request, timeout=timeout)
    return message


async def outcomes(call: Any, count: int) -> dict[int, str]:
    """The next `count` outcomes by id: a text that was answered has its label, one that failed its reason."""
    seen: dict[int, str] = {}
    while len(seen) < count:
        response = await asyncio.wait_for(call.read(), 10)
        assert response is not EOF, f"the stream ended after {seen}"
        for one in response.outcomes:
            assert one.id not in seen, f"{one.id} ended twice"
            seen[one.id] = one.status.reason or one.response.classification.label
    return seen


async def end_of(call: Any) -> grpc.StatusCode:
    """The status that a stream ends with, once it has nothing more to say."""
    with suppress(grpc.aio.AioRpcError):
        response = await asyncio.wait_for(call.read(), 10)
        assert response is EOF, f"the stream still says {response}"
    code: grpc.StatusCode = await call.code()
    return code
