"""Answers of a stock client, which takes messages of 4 MiB: none is lost for being large, and none breaks its call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from sluice.domain.enums import Task, Tier
from sluice.domain.errors import Reason
from sluice.domain.variant import Variant
from sluice.runtime.message_size import MAX_MESSAGE_KEY
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import inference_service_pb2_grpc as inference_grpc
from sluice.v1 import worker_service_pb2 as worker_pb2
from tests.integration.fake_scribe import FakeScribe
from tests.integration.fake_scribe import card as scribe_card
from tests.integration.fake_worker import router_to, serving
from tests.integration.live_router import Face, asks, face_of
from tests.integration.lying_worker import LyingWorker, Said, welcome
from tests.unit.polling import until

LABELS = tuple(f"{place:05}{'x' * 1_000}" for place in range(1_000))
VECTORS = Variant(id="vector/full-fp32", model="vector", tier=Tier.FULL, task=Task.FEATURE_EXTRACTION)
WORDS = Variant(
    id="words/full-fp32", model="words", tier=Tier.FULL, task=Task.TEXT_CLASSIFICATION, labels=LABELS
)  # fmt: skip
ANSWERS = 3_000


def replies(request: worker_pb2.ExecuteRequest) -> list[Said]:
    """Vectors of 1,024 numbers, or of 65,536 where a text asks for it; every label, five times as large as it is."""
    batch = request.batch
    response = worker_pb2.ExecuteResponse(credit=worker_pb2.Credit(batches=1, max_items=128))
    response.result.batch_id = batch.id
    for item in batch.items:
        answer = response.result.results.add(id=item.id)
        if batch.variant == VECTORS.id:
            answer.embedding.values.extend([0.5] * 1_024)
        else:
            answer.classification.label = LABELS[0]
            for label in LABELS[: item.top_k]:
                answer.classification.scores.add(label=label, score=0.001)
    return [response]


@asynccontextmanager
async def mesh(**settings: Any) -> AsyncIterator[Face]:
    worker = LyingWorker(welcome(VECTORS, WORDS), replies=replies)
    async with worker.serving() as address, router_to(address, **settings) as router, face_of(router) as face:
        yield face


async def test_a_stock_client_that_pauses_gets_every_answer_of_its_stream() -> None:
    async with mesh() as face, grpc.aio.insecure_channel(face.address) as channel:
        call: Any = inference_grpc.InferenceServiceStub(channel).InferStream()
        await call.write(asks(*range(ANSWERS), model="vector", query_class=0))
        await call.done_writing()
        seen: list[int] = []
        async for response in call:
            assert response.ByteSize() <= 4 * 1024 * 1024
            seen.extend(one.id for one in response.outcomes if one.HasField("response"))
            if len(seen) == len(response.outcomes):
                await until(lambda: face.router.open_requests == 0)
        assert sorted(seen) == list(range(ANSWERS))
        assert await call.code() is grpc.StatusCode.OK


async def test_a_reader_that_stands_still_holds_no_more_than_may_wait_for_it_and_nobody_else() -> None:
    most = 4 * 1024 * 1024
    async with mesh(max_stream_bytes=most) as face, grpc.aio.insecure_channel(face.address) as channel:
        call: Any = inference_grpc.InferenceServiceStub(channel).InferStream()
        await call.write(asks(*range(ANSWERS), model="vector", query_class=0))
        await until(lambda: face.router.open_requests == 0)
        other = inference_pb2.InferRequest(model="vector", text="other")
        assert len((await face.stub.Infer(other, timeout=5)).embedding.values) == 1_024
        await call.done_writing()
        ends = [one async for response in call for one in response.outcomes]
        assert sorted(one.id for one in ends) == list(range(ANSWERS))
        answered = [one for one in ends if one.HasField("response")]
        assert 0 < sum(one.ByteSize() for one in answered) <= 4 * most
        assert {one.status.reason for one in ends if one.HasField("status")} <= {Reason.SATURATED}


@pytest.mark.parametrize("announced", [None, "67108864"])
async def test_an_answer_that_alone_is_too_large_ends_by_its_reason_unless_its_reader_announces_more(
    announced: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.runtime.message_size.DEFAULT_LIMIT_BYTES", 500_000)
    request = inference_pb2.InferRequest(model="words", text="text", top_k=1_000)
    metadata = [(MAX_MESSAGE_KEY, announced)] if announced else []
    async with mesh() as face:
        call = face.stub.Infer(request, timeout=5, metadata=metadata)
        stream: Any = face.stub.InferStream(metadata=metadata)
        await stream.write(asks(1, model="words", top_k=1_000))
        await stream.write(asks(2, model="words"))
        await stream.done_writing()
        ends = {one.id: one async for response in stream for one in response.outcomes}
        assert ends[2].response.classification.label == LABELS[0]
        if announced:
            assert len((await call).classification.scores) == len(ends[1].response.classification.scores) == 1_000
            return
        assert ends[1].status.reason == Reason.ANSWER_TOO_LARGE
        assert await call.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_generation_whose_reader_paused_comes_in_messages_that_it_takes() -> None:
    scribe = FakeScribe(scribe_card())
    async with serving(scribe) as address, router_to(address) as router, face_of(router) as face:
        request = inference_pb2.GenerateRequest(prompt="long", max_new_tokens=20_000)
        call = face.stub.Generate(request, timeout=20)
        number = await scribe.text("long")
        for tokens in range(1, 101):
            scribe.write(number, "é" * 50_000, tokens=100 * tokens, finish=tokens // 100)
        await until(lambda: router.open_requests == 0)
        text = "".join([response.text async for response in call])
        assert text == "é" * 5_000_000
        await asyncio.sleep(0)
