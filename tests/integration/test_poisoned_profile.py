"""A worker whose profile was measured on a busy machine, and a router that is live: it is asked all the same."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import grpc

from sluice.domain.enums import Tier
from sluice.domain.variant import BatchTime
from sluice.v1 import inference_service_pb2 as inference_pb2
from tests.integration.fake_worker import FakeWorker, answer_well
from tests.integration.live_router import facing

TIMEOUT_S = 0.5
CALLS = 60


async def test_a_profile_that_says_one_and_a_half_seconds_shuts_nobody_out_of_a_worker_that_takes_none() -> None:
    worker = FakeWorker(answer_well, tier=Tier.FULL)
    point = BatchTime(items=1, tokens=16, time_s=1.619, deviation_s=0.05)
    worker.variant = replace(worker.variant, profile=(point,))
    answered: list[bool] = []
    async with facing(worker) as face:
        request = inference_pb2.InferRequest(text="where is my parcel?", minimum_tier=Tier.FULL.value)
        for _ in range(CALLS):
            try:
                await face.stub.Infer(request, timeout=TIMEOUT_S)
                answered.append(True)
            except grpc.aio.AioRpcError:
                answered.append(False)
            await asyncio.sleep(0.05)
    print(f"{sum(answered)} of {CALLS} answered")
    assert all(answered[CALLS // 2 :]), answered
