"""Two routers are restarted one after the other under a stock client's calls, and nobody loses one."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from benchmarks.rolling_restart.routers import (
    SPREAD_ONLY,
    health_without_retries,
    lost_in_restarts,
    two_routers,
)
from benchmarks.stock_clients import Missing
from sluice.cli.process import ServiceProcess
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import inference_service_pb2_grpc as inference_grpc

Routers = tuple[ServiceProcess, ServiceProcess]
ROUND_TRIP_S = 0.01
SECONDS = 9.0


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def routers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Routers]:
    # A short age, for clients that watch no health are waited for so long.
    async with two_routers(tmp_path_factory.mktemp("logs"), transport={"max_connection_age_s": 1.0}) as made:
        yield made


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("language", "config", "through_envoy"),
    [
        ("python", health_without_retries(), False),
        ("go", health_without_retries(), False),
        ("node", SPREAD_ONLY, False),
        ("python", "", True),
    ],
    ids=["python-health", "go-health", "node-neither", "envoy"],
)
async def test_a_rolling_restart_loses_no_call(
    routers: Routers, language: str, config: str, through_envoy: bool
) -> None:
    try:
        ends, _ = await lost_in_restarts(
            routers, language, config, seconds=SECONDS, round_trip_s=ROUND_TRIP_S, through_envoy=through_envoy
        )
    except Missing as why:
        pytest.skip(str(why))
    assert ends.lost == 0, (ends.codes, ends.said)
    assert ends.calls == 100 * SECONDS


@pytest.mark.asyncio(loop_scope="module")
async def test_a_stream_that_is_open_ends_unavailable_and_a_second_signal_stops_at_once(routers: Routers) -> None:
    router = routers[0]
    async with grpc.aio.insecure_channel(router.address) as channel:
        call = inference_grpc.InferenceServiceStub(channel).InferStream()
        message = inference_pb2.InferStreamRequest()
        message.items.add(id=1, request=inference_pb2.InferRequest(text="text", query_class=1))
        await call.write(message)
        first = await call.read()
        assert isinstance(first, inference_pb2.InferStreamResponse)
        assert first.outcomes[0].HasField("response")

        router.signal(signal.SIGTERM)
        await asyncio.sleep(0.1)
        assert router.exit_code is None
        begun_at = time.perf_counter()
        router.signal(signal.SIGTERM)
        assert await router.ended(30)
        assert time.perf_counter() - begun_at < 15
        assert router.exit_code == 0
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
    router.start()
    await router.ready(60)
