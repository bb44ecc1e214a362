"""Messages between routers and workers that take 4 MiB, as any gRPC library does: none is larger, and none is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from services.router.requests.request import Request
from services.router.requests.sampling_params import SamplingParams
from sluice.domain.enums import Task, Tier
from sluice.domain.errors import AnswerTooLarge, InvalidRequest, Reason
from sluice.domain.variant import Variant
from sluice.runtime.message_size import MAX_MESSAGE_KEY, STOCK_BYTES
from sluice.v1 import worker_service_pb2 as worker_pb2
from sluice.v1 import worker_service_pb2_grpc as worker_grpc
from sluice.worker.execution.backend import Embedding
from tests.integration.fake_scribe import FakeScribe
from tests.integration.fake_worker import FakeWorker, answered, router_to, serving
from tests.integration.live_worker import read, working
from tests.integration.lying_worker import LyingWorker, welcome
from tests.integration.test_worker import batch

MIB = 1024 * 1024


def request(text: str, model: str = "echo") -> Request:
    return Request(model=model, text=text, deadline=asyncio.get_running_loop().time() + 3_000)


def shortly(message: worker_pb2.Batch) -> worker_pb2.ExecuteResponse:
    response = answered(message)
    for item in response.result.results:
        item.classification.label = item.classification.label[:8]
    return response


async def answer_shortly(worker: FakeWorker, message: worker_pb2.Batch, context: Any) -> None:
    await worker.write(context, shortly(message))


async def test_a_stock_worker_gets_no_batch_and_no_prompt_that_is_larger_than_it_takes() -> None:
    worker, scribe = FakeWorker(answer_shortly, credits_=1), FakeScribe()
    async with (
        serving(worker) as address,
        serving(scribe) as other,
        router_to(address, other, max_text_bytes=16 * MIB, max_open_bytes=256 * MIB) as router,
    ):
        texts = [f"{number}{'x' * MIB}" for number in range(9)]
        answers = await asyncio.gather(*(router.infer(request(text)) for text in texts))
        assert [one.result.classification.label for one in answers] == [text[:8] for text in texts]
        assert all(len(one.items) <= 3 for one in worker.batches)
        with pytest.raises(InvalidRequest, match="worker takes messages"):
            await router.infer(request("x" * 5 * MIB))
        ticket = router.texts.take(request("x" * 5 * MIB, model="chat"), SamplingParams())
        outcome = (await asyncio.wait_for(ticket.outlet.take(), 10)).outcome
        assert isinstance(outcome, InvalidRequest)
        assert (worker.streams, scribe.texts, router.open_requests) == (1, {}, 0)


async def test_a_worker_that_announces_more_gets_more_at_once() -> None:
    def replies(message: worker_pb2.ExecuteRequest) -> list[Any]:
        seen.append(len(message.batch.items))
        return [shortly(message.batch)]

    seen: list[int] = []
    first = welcome(batches=1)
    first.welcome.max_message_bytes = 64 * MIB
    liar = LyingWorker(first, replies=replies)
    liar.options = [("grpc.max_receive_message_length", 64 * MIB)]
    async with liar.serving() as address, router_to(address, max_text_bytes=16 * MIB) as router:
        await asyncio.gather(*(router.infer(request("x" * 5 * MIB)) for _ in range(4)))
    assert sum(seen) == 4


@pytest.mark.parametrize("announced", [None, "67108864"])
async def test_a_stock_router_gets_one_result_that_it_takes(announced: str | None) -> None:
    async with working(answer=lambda items: [Embedding((0.5,) * 500_000) for _ in items]) as running:
        options = [("grpc.max_receive_message_length", 64 * MIB)] if announced else []
        async with grpc.aio.insecure_channel(running.address, options=options) as channel:
            metadata = [(MAX_MESSAGE_KEY, announced)] if announced else []
            call: Any = worker_grpc.WorkerServiceStub(channel).Execute(metadata=metadata)
            assert (await read(call)).welcome.worker == "w1"
            await call.write(batch(1, "a", "b", "c"))
            response = await read(call)
            ends = [one.status.reason for one in response.result.results]
            assert (response.ByteSize() > STOCK_BYTES) is bool(announced)
            too_large = str(Reason.ANSWER_TOO_LARGE)
            assert sorted(ends) == (["", "", ""] if announced else ["", "", too_large])
            call.cancel()


async def test_a_single_answer_that_is_too_large_ends_its_call_and_its_caller_alone() -> None:
    async with working() as running:
        labels = tuple(f"{place}{'x' * 1_000}" for place in range(1_000))
        held = [
            Variant(
                id=f"m{place}/full-fp32",
                model=f"m{place}",
                tier=Tier.FULL,
                task=Task.TEXT_CLASSIFICATION,
                labels=labels,
            )
            for place in range(5)
        ]
        running.bench.catalog.variants = lambda: held  # type: ignore[method-assign]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.stub.DescribeModels(worker_pb2.DescribeModelsRequest())
        assert caught.value.code() is AnswerTooLarge.code
        call = running.stub.Execute()
        card = (await read(call)).welcome
        assert [one.model for one in card.variants] == [one.model for one in held]
        assert sum(bool(one.labels) for one in card.variants) == 4
        call.cancel()
