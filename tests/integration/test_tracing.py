"""One trace per request, received by a real OTLP server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2

from sluice.cli.mesh import LocalMesh
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import inference_service_pb2_grpc as inference_grpc
from sluice.v1 import tier_pb2
from tests.conftest import IDENTITY_MESH
from tests.unit.loopback import loopback

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CLIENT_SPAN = "b7ad6b7169203331"
SAMPLED = f"00-{TRACE_ID}-{CLIENT_SPAN}-01"
NOT_SAMPLED = f"00-{'1' * 32}-{CLIENT_SPAN}-00"
INFER = "sluice.v1.InferenceService/Infer"
EXECUTE = "sluice.v1.WorkerService/Execute"


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans that it is sent, each with the name of the service that made it."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, trace_pb2.Span]] = []

    async def Export(self, request: trace_service_pb2.ExportTraceServiceRequest, context: Any) -> Any:
        for resource in request.resource_spans:
            name = next(one.value.string_value for one in resource.resource.attributes if one.key == "service.name")
            for scope in resource.scope_spans:
                self.spans.extend((name, span) for span in scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()

    def find(self, service: str, name: str, trace_id: str | None = None) -> list[trace_pb2.Span]:
        return [
            span
            for made_by, span in self.spans
            if (made_by, span.name) == (service, name) and trace_id in (None, span.trace_id.hex())
        ]


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    kept = Receiver()
    async with loopback(trace_service_pb2_grpc.add_TraceServiceServicer_to_server, kept) as address:
        yield kept, address


def attributes(span: trace_pb2.Span) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def traced_mesh(endpoint: str, logs: Path, **telemetry: Any) -> LocalMesh:
    settings = {**IDENTITY_MESH, "telemetry": {"otlp_endpoint": endpoint, **telemetry}}
    environ = {**os.environ, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    return LocalMesh(settings, environ=environ, free_ports=True, log_directory=logs)


async def ask(router: str, *traceparents: str) -> list[inference_pb2.InferResponse]:
    async with grpc.aio.insecure_channel(router) as channel:
        stub = inference_grpc.InferenceServiceStub(channel)
        request = inference_pb2.InferRequest(text="hello", query_class=tier_pb2.QUERY_CLASS_SIMPLE, request_id="r1")
        return await asyncio.gather(
            *(
                stub.Infer(request, timeout=10, metadata=(("traceparent", one),) if one else None)
                for one in traceparents
            )
        )


async def test_client_router_and_worker_share_a_trace_and_the_batch_is_linked_to_it(
    receiver: tuple[Receiver, str], tmp_path: Path
) -> None:
    kept, endpoint = receiver
    async with traced_mesh(endpoint, tmp_path) as mesh:
        (response,) = await ask(mesh.router, SAMPLED)
    # The services have drained, and with that sent their last spans.
    assert response.trace_id == TRACE_ID
    (request_span,) = kept.find("sluice-router", INFER)
    assert request_span.trace_id.hex() == TRACE_ID
    assert request_span.parent_span_id.hex() == CLIENT_SPAN
    (item_span,) = kept.find("sluice-cpu_worker", "execute")
    assert item_span.trace_id.hex() == TRACE_ID
    assert item_span.parent_span_id == request_span.span_id
    (send_span,) = kept.find("sluice-router", EXECUTE)
    assert [link.span_id for link in send_span.links] == [request_span.span_id]
    (batch_span,) = kept.find("sluice-cpu_worker", EXECUTE)
    assert batch_span.trace_id == send_span.trace_id
    assert batch_span.parent_span_id == send_span.span_id
    assert [link.span_id for link in batch_span.links] == [request_span.span_id]
    seen = attributes(request_span)
    assert seen["gen_ai.request.model"] == "echo"
    assert seen["gen_ai.response.model"] == response.variant == "echo/light-fp32"
    assert seen["rpc.system"] == "grpc"
    assert seen["rpc.response.status_code"] == "OK"
    assert (seen["sluice.domain.enums"], seen["sluice.worker"]) == ("light", response.worker)
    assert seen["sluice.request_id"] == "r1"
    assert attributes(batch_span)["sluice.batch.size"] == 1


async def test_requests_of_one_batch_keep_their_own_traces(receiver: tuple[Receiver, str], tmp_path: Path) -> None:
    kept, endpoint = receiver
    parents = [f"00-{number:032x}-{number:016x}-01" for number in range(1, 21)]
    async with traced_mesh(endpoint, tmp_path) as mesh:
        responses = await ask(mesh.router, *parents)
    assert [response.trace_id for response in responses] == [parent[3:35] for parent in parents]
    for parent in parents:
        assert len(kept.find("sluice-router", INFER, parent[3:35])) == 1
        assert len(kept.find("sluice-cpu_worker", "execute", parent[3:35])) == 1
    linked = [link.trace_id.hex() for span in kept.find("sluice-cpu_worker", EXECUTE) for link in span.links]
    assert sorted(linked) == sorted(parent[3:35] for parent in parents)


async def test_a_callers_decision_not_to_sample_holds_and_its_id_still_comes_back(
    receiver: tuple[Receiver, str], tmp_path: Path
) -> None:
    kept, endpoint = receiver
    async with traced_mesh(endpoint, tmp_path) as mesh:
        (response,) = await ask(mesh.router, NOT_SAMPLED)
    assert response.trace_id == "1" * 32
    assert kept.spans == []


@pytest.mark.parametrize(("ratio", "traced"), [(0.0, 0), (1.0, 5)])
async def test_the_sample_ratio_decides_for_callers_who_do_not(
    receiver: tuple[Receiver, str], tmp_path: Path, ratio: float, traced: int
) -> None:
    kept, endpoint = receiver
    async with traced_mesh(endpoint, tmp_path, sample_ratio=ratio) as mesh:
        responses = await ask(mesh.router, *[""] * 5)
    assert len(kept.find("sluice-router", INFER)) == traced
    assert sum(bool(response.trace_id) for response in responses) == traced
