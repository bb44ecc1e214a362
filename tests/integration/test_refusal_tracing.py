"""A request that is refused before it is read to the end has a span too, if its caller's trace is sampled."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import grpc
import pytest

from sluice.cli.mesh import LocalMesh
from sluice.open_inference import grpc_service_pb2 as oip_pb2
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import inference_service_pb2_grpc as inference_grpc
from tests.conftest import IDENTITY_MESH
from tests.integration.test_tracing import Receiver, attributes, receiver, traced_mesh

__all__ = ["receiver"]
SERVICE = "sluice.v1.InferenceService"
OIP = "inference.GRPCInferenceService"
METHODS = (f"{SERVICE}/Infer", f"{SERVICE}/InferStream", f"{SERVICE}/Generate", f"{OIP}/ModelInfer")
UNREADABLE = b"\xff\xff\xff"


def parent(number: int, *, sampled: bool) -> str:
    return f"00-{number:032x}-{number:016x}-{int(sampled):02x}"


async def refused(channel: grpc.aio.Channel, method: str, traceparent: str, data: bytes | None = None) -> None:
    """Ask by `method`, in a way that is refused; `data` in place of a good message."""
    metadata = (("traceparent", traceparent),) if traceparent else ()
    messages: dict[str, Any] = {
        METHODS[0]: inference_pb2.InferRequest(text="hi"),
        METHODS[2]: inference_pb2.GenerateRequest(prompt="hi"),
        METHODS[3]: oip_pb2.ModelInferRequest(
            model_name="echo",
            inputs=[oip_pb2.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[1])],
            raw_input_contents=[b"\x02\x00\x00\x00hi"],
        ),
    }
    if method == METHODS[1]:
        item = inference_pb2.InferStreamItem(id=1, traceparent=traceparent)
        item.request.text = "hi"
        if data is not None:
            item.request.conversation_id = "x" * 1000
        stream = inference_grpc.InferenceServiceStub(channel).InferStream(timeout=10)
        await stream.write(inference_pb2.InferStreamRequest(items=[item]))
        answer = await stream.read()
        assert answer.outcomes[0].status.reason
        await stream.done_writing()
        return
    sent = messages[method].SerializeToString() if data is None else data
    kind = channel.unary_stream if method == METHODS[2] else channel.unary_unary
    call: Any = kind(f"/{method}")(sent, metadata=metadata, timeout=10)
    assert await call.code() is not grpc.StatusCode.OK


def full(mesh: LocalMesh) -> None:
    """Nothing is answered any more, so whoever is in stays in."""
    for name in ("gpu_worker", "cpu_worker"):
        mesh.processes[name].signal(signal.SIGSTOP)


async def test_whatever_is_refused_leaves_a_span_where_its_caller_is_sampled_and_nowhere_else(
    receiver: tuple[Receiver, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, endpoint = receiver
    # Only a router that does not ask why its worker is silent keeps the place taken.
    monkeypatch.setitem(IDENTITY_MESH, "router", {"max_open_requests": 1, "assignment": "preference"})
    async with (
        traced_mesh(endpoint, tmp_path, sample_ratio=0.0) as mesh,
        grpc.aio.insecure_channel(mesh.router) as channel,
    ):
        for place, method in enumerate(METHODS):
            await refused(channel, method, parent(100 + place, sampled=True), UNREADABLE)
        full(mesh)
        first = inference_grpc.InferenceServiceStub(channel).Infer(
            inference_pb2.InferRequest(text="holds the place", priority=1.0), timeout=60
        )
        await asyncio.sleep(0.5)
        for place, method in enumerate(METHODS):
            await refused(channel, method, parent(200 + place, sampled=True))
            await refused(channel, method, parent(300 + place, sampled=False))
            await refused(channel, method, "")
        assert not first.done()
        first.cancel()
    seen = {span.trace_id.hex(): (span.name, attributes(span)) for _, span in kept.spans}
    for base, code, reason in ((100, "INVALID_ARGUMENT", "invalid-argument"), (200, "RESOURCE_EXHAUSTED", "rejected-")):
        for place, method in enumerate(METHODS):
            name, values = seen.pop(f"{base + place:032x}")
            assert (name, values["rpc.response.status_code"]) == (method, code)
            assert values["error.type"].startswith(reason)
    assert seen == {}
