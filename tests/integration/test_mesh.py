"""The four services as real processes."""

from __future__ import annotations

import asyncio
import signal

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sluice import AsyncClient, Client, Query
from sluice.cli.mesh import LocalMesh
from sluice.client.answer import Answer
from sluice.domain.enums import QueryClass, Tier
from sluice.domain.errors import Expired, InvalidRequest, NoEndpoint, Reason, SluiceError, UnknownModel

CLASSES = {
    QueryClass.SIMPLE: Tier.LIGHT,
    QueryClass.COMPLEX: Tier.FULL,
    QueryClass.REAL_TIME: Tier.QUANTIZED,
}


async def test_each_class_is_answered_by_its_tier(identity_mesh: LocalMesh) -> None:
    async with AsyncClient(identity_mesh.router) as client:
        for query_class, tier in CLASSES.items():
            answer = await client.infer("where is my parcel?", query_class=query_class, request_id="mine")
            assert (answer.label, answer.tier, answer.request_id) == ("identity", tier, "mine")
            assert answer.degraded_from is Tier.UNSPECIFIED
            assert answer.levels == ()


async def test_the_mesh_serves_on_without_its_governor(identity_mesh: LocalMesh) -> None:
    governor = identity_mesh.processes["governor"]
    governor.signal(signal.SIGKILL)
    assert await governor.ended(10)
    async with AsyncClient(identity_mesh.router) as client:
        outcomes = [outcome async for _, outcome in client.infer_many(["text"] * 50)]
    assert all(isinstance(outcome, Answer) for outcome in outcomes)


async def test_when_a_worker_is_killed_every_request_is_answered_by_another_tier(identity_mesh: LocalMesh) -> None:
    queries = [Query(text=f"text {number}", query_class=QueryClass.COMPLEX) for number in range(600)]
    outcomes = []
    async with AsyncClient(identity_mesh.router) as client:
        async for _, outcome in client.infer_many(queries, max_open=32):
            outcomes.append(outcome)
            if len(outcomes) == 100:
                identity_mesh.processes["gpu_worker"].signal(signal.SIGKILL)
    assert all(isinstance(outcome, Answer) for outcome in outcomes)
    tiers = [outcome.tier for outcome in outcomes if isinstance(outcome, Answer)]
    assert tiers[0] is Tier.FULL
    last = outcomes[-1]
    assert isinstance(last, Answer)
    assert (last.tier, last.degraded_from) == (Tier.LIGHT, Tier.FULL)


async def test_a_worker_that_comes_back_is_used_again(identity_mesh: LocalMesh) -> None:
    worker = identity_mesh.processes["gpu_worker"]
    worker.signal(signal.SIGKILL)
    assert await worker.ended(10)
    identity_mesh.start("gpu_worker")
    await worker.ready(30)
    async with AsyncClient(identity_mesh.router) as client:
        for _ in range(100):
            answer = await client.infer("text", query_class=QueryClass.COMPLEX)
            if answer.tier is Tier.FULL:
                break
            await asyncio.sleep(0.1)
    assert answer.tier is Tier.FULL


async def test_a_minimum_tier_is_honoured_or_refused(identity_mesh: LocalMesh) -> None:
    async with AsyncClient(identity_mesh.router) as client:
        answer = await client.infer("text", query_class=QueryClass.SIMPLE, minimum_tier=Tier.FULL)
        assert answer.tier is Tier.FULL
        worker = identity_mesh.processes["gpu_worker"]
        worker.signal(signal.SIGKILL)
        assert await worker.ended(10)
        await asyncio.sleep(0.2)
        with pytest.raises(NoEndpoint):
            await client.infer("text", minimum_tier=Tier.FULL, timeout_s=3.0)


@pytest.mark.parametrize("service", ["router", "cpu_worker", "gpu_worker", "governor"])
async def test_sigterm_ends_every_service_with_success(identity_mesh: LocalMesh, service: str) -> None:
    process = identity_mesh.processes[service]
    process.signal(signal.SIGTERM)
    assert await process.ended(10)
    assert process.exit_code == 0


async def test_liveness_and_readiness_are_apart(identity_mesh: LocalMesh) -> None:
    async with grpc.aio.insecure_channel(identity_mesh.router) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        names = ("", "liveness", "readiness", "sluice.v1.InferenceService", "inference.GRPCInferenceService")
        for name in names:
            response = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert response.status == health_pb2.HealthCheckResponse.SERVING
    for worker in ("gpu_worker", "cpu_worker"):
        process = identity_mesh.processes[worker]
        process.signal(signal.SIGKILL)
        assert await process.ended(10)
    async with grpc.aio.insecure_channel(identity_mesh.router) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        async for update in health.Watch(health_pb2.HealthCheckRequest(service="readiness")):
            if update.status == health_pb2.HealthCheckResponse.NOT_SERVING:
                break
        alive = await health.Check(health_pb2.HealthCheckRequest(service="liveness"))
        assert alive.status == health_pb2.HealthCheckResponse.SERVING


def test_the_sync_client_streams_in_order_and_ends_each_text_once(identity_mesh: LocalMesh) -> None:
    queries = [Query(text=f"text {number}", request_id=str(number)) for number in range(1_000)]
    # The router refuses the first, and the client the others, which no message can hold.
    refused = {
        500: (Query(text=""), "text"),
        501: (Query(text="half \ud83d"), "text"),
        999: (Query(text="t", top_k=-1), "top_k"),
    }
    for place, (query, _) in refused.items():
        queries[place] = query
    with Client(identity_mesh.router) as client:
        outcomes = list(client.infer_many(queries, max_open=200))
    assert len(outcomes) == 1_000
    for place, (_, field) in refused.items():
        bad = outcomes[place]
        assert isinstance(bad, InvalidRequest)
        assert (bad.reason, bad.field) == (Reason.INVALID_ARGUMENT, field)
    expected = [query.request_id for place, query in enumerate(queries) if place not in refused]
    assert [outcome.request_id for outcome in outcomes if isinstance(outcome, Answer)] == expected


def test_a_long_stream_takes_no_more_memory_than_a_short_one(identity_mesh: LocalMesh) -> None:
    router = psutil.Process(identity_mesh.processes["router"].pid)
    before = 0
    with Client(identity_mesh.router, timeout_s=60) as client:
        queries = (Query(text=f"text {number}") for number in range(60_000))
        for number, outcome in enumerate(client.infer_many(queries, max_open=500)):
            assert isinstance(outcome, Answer)
            if number == 20_000:
                before = router.memory_info().rss
    # What is kept of an answer would be some hundreds of bytes.
    assert router.memory_info().rss - before < 40_000 * 100


@pytest.mark.parametrize(
    ("query", "error", "field"),
    [
        (Query(text=""), InvalidRequest, "text"),
        (Query(text="   \n"), InvalidRequest, "text"),
        (Query(text="x" * 1_000_000), InvalidRequest, "text"),
        (Query(text="x", priority=1.5), InvalidRequest, "priority"),
        (Query(text="x", priority=-0.1), InvalidRequest, "priority"),
        (Query(text="x", priority=float("nan")), InvalidRequest, "priority"),
        (Query(text="x", model="nobody"), UnknownModel, ""),
        (Query(text="x", request_id="x" * 200), InvalidRequest, "request_id"),
        (Query(text="x", timeout_s=1e-9), Expired, ""),
    ],
    ids=["empty", "blank", "megabyte", "above-one", "negative", "nan", "unknown-model", "long-id", "expired"],
)
async def test_bad_input_gets_its_status_and_nobody_else_suffers(
    identity_mesh: LocalMesh, query: Query, error: type[SluiceError], field: str
) -> None:
    async with AsyncClient(identity_mesh.router) as client:
        others = asyncio.gather(*(client.infer(f"good {number}") for number in range(50)))
        with pytest.raises(error) as caught:
            await client.infer(query)
        assert field == "" or caught.value.field == field
        assert all(answer.label == "identity" for answer in await others)


async def test_invalid_utf8_is_the_callers_mistake(identity_mesh: LocalMesh) -> None:
    async with grpc.aio.insecure_channel(identity_mesh.router) as channel:
        infer = channel.unary_unary("/sluice.v1.InferenceService/Infer")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await infer(b"\x12\x02\xff\xfe", timeout=5)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_ten_thousand_concurrent_calls_all_end(identity_mesh: LocalMesh) -> None:
    async with AsyncClient(identity_mesh.router, timeout_s=60) as client:
        outcomes = await asyncio.gather(
            *(client.infer(f"text {number}") for number in range(10_000)), return_exceptions=True
        )
    assert len(outcomes) == 10_000
    refused = [outcome for outcome in outcomes if not isinstance(outcome, Answer)]
    assert refused == []
