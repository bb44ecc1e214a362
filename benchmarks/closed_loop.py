"""Closed-loop load: a fixed number of requests in flight, each replaced as soon as it is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import grpc

from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import inference_service_pb2_grpc as inference_grpc
from sluice.v1 import tier_pb2

TEXT = "where is my parcel? it should have been here on monday"
WARM_UP_CALLS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one run came to: answers per second, and milliseconds of latency."""

    per_s: float
    p50_ms: float
    p99_ms: float


def request() -> inference_pb2.InferRequest:
    """The request that is sent again and again: of the default priority, so nothing about it is hurried."""
    return inference_pb2.InferRequest(text=TEXT, query_class=tier_pb2.QUERY_CLASS_SIMPLE)


async def unary(address: str, *, in_flight: int, seconds: float) -> Figures:
    """`in_flight` callers of Infer on one channel."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = inference_grpc.InferenceServiceStub(channel)
        message = request()
        for _ in range(WARM_UP_CALLS):
            await stub.Infer(message, timeout=10)
        return await keep_open(partial(stub.Infer, message, timeout=30), in_flight=in_flight, seconds=seconds)


async def keep_open(call: Callable[[], Awaitable[object]], *, in_flight: int, seconds: float) -> Figures:
    """`in_flight` callers, each of whom calls again as soon as it has its answer; all answers of `seconds` count."""
    latencies: list[float] = []
    started = time.perf_counter()
    stop_at = started + seconds

    async def caller() -> None:
        while (sent_at := time.perf_counter()) < stop_at:
            await call()
            latencies.append(time.perf_counter() - sent_at)

    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return _figures(latencies, time.perf_counter() - started)


async def stream(address: str, *, in_flight: int, seconds: float) -> Figures:
    """One InferStream with `in_flight` texts open; answers that come together are replaced together."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = inference_grpc.InferenceServiceStub(channel).InferStream()
        message = request()
        sent: dict[int, float] = {}
        latencies: list[float] = []
        number = 0

        def bundle(count: int) -> inference_pb2.InferStreamRequest:
            nonlocal number
            wanted = inference_pb2.InferStreamRequest()
            now = time.perf_counter()
            for _ in range(count):
                number += 1
                item = wanted.items.add(id=number, request=message)
                item.timeout.seconds = 30
                sent[number] = now
            return wanted

        started = time.perf_counter()
        await call.write(bundle(in_flight))
        while time.perf_counter() - started < seconds:
            response = await call.read()
            now = time.perf_counter()
            for outcome in response.outcomes:
                if not outcome.HasField("response"):
                    raise RuntimeError(f"a text failed: {outcome.status}")
                latencies.append(now - sent.pop(outcome.id))
            await call.write(bundle(len(response.outcomes)))
        elapsed_s = time.perf_counter() - started
        call.cancel()
    return _figures(latencies, elapsed_s)


async def burst(address: str, *, callers: int) -> int:
    """`callers` calls of Infer at once; returns how many were answered."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = inference_grpc.InferenceServiceStub(channel)
        message = request()

        async def call() -> bool:
            try:
                await stub.Infer(message, timeout=30)
            except grpc.aio.AioRpcError:
                return False
            return True

        return sum(await asyncio.gather(*(call() for _ in range(callers))))


def _figures(latencies: list[float], elapsed_s: float) -> Figures:
    latencies.sort()
    p50, p99 = (latencies[int(len(latencies) * share)] * 1000 for share in (0.5, 0.99))
    return Figures(per_s=len(latencies) / elapsed_s, p50_ms=p50, p99_ms=p99)
