"""A live router under more than its worker can do: who is answered, who is refused, and what the refused are told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from sluice.client import AsyncClient
from sluice.domain.errors import Outranked, Reason, Saturated
from sluice.domain.status import DETAILS_KEY, PUSHBACK_KEY, duration
from sluice.open_inference import grpc_service_pb2 as oip_pb2
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import worker_service_pb2 as worker_pb2
from tests.integration.fake_worker import FakeWorker, answered, hold
from tests.integration.live_router import Face, facing
from tests.unit.polling import until

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
PER_BATCH_S = 0.08
BATCH = 16
# Four times what the worker can do, a sixth of it hot.
BUNDLE_EVERY_S = 0.02
BUNDLE = round(4 * BATCH * BUNDLE_EVERY_S / PER_BATCH_S)
TIMEOUT = duration(2.0)


def slow_worker() -> FakeWorker:
    """Takes its time for each batch, one after the other."""
    turn = asyncio.Lock()

    async def answer(worker: FakeWorker, batch: worker_pb2.Batch, context: Any) -> None:
        async with turn:
            await asyncio.sleep(PER_BATCH_S)
        response = answered(batch)
        response.result.compute.CopyFrom(duration(PER_BATCH_S))
        await worker.write(context, response)

    return FakeWorker(answer)


class Flood:
    """An open loop on one stream: bundles go out by the clock, and every outcome is kept by its id."""

    def __init__(self, face: Face) -> None:
        self.priorities: dict[int, float] = {}
        self.outcomes: dict[int, inference_pb2.InferStreamOutcome] = {}
        self._call = face.stub.InferStream()
        self._dice = random.Random(1)
        self._stopped = False

    async def send(self) -> None:
        """Send until stopped."""
        while not self._stopped:
            message = inference_pb2.InferStreamRequest()
            for _ in range(BUNDLE):
                hot = self._dice.random() < 1 / 12
                priority = 0.9 if hot else 0.69 * self._dice.random()
                number = len(self.priorities)
                self.priorities[number] = priority
                request = inference_pb2.InferRequest(text="text", priority=priority, query_class=1)  # type: ignore[arg-type]
                message.items.add(id=number, request=request, timeout=TIMEOUT)
            await self._call.write(message)
            await asyncio.sleep(BUNDLE_EVERY_S)
        await self._call.done_writing()

    async def receive(self) -> None:
        """Receive until the router has nothing more to say."""
        async for response in self._call:
            for outcome in response.outcomes:
                assert outcome.id not in self.outcomes, "it ended twice"
                self.outcomes[outcome.id] = outcome

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped = True

    def ends(self, *, hot: bool) -> list[inference_pb2.InferStreamOutcome]:
        """The outcomes of one class."""
        return [self.outcomes[number] for number, priority in self.priorities.items() if (priority >= 0.7) is hot]


def refused_of(outcomes: list[inference_pb2.InferStreamOutcome], low: float, high: float, flood: Flood) -> float:
    """The share refused of those with a priority from `low` to `high`."""
    chosen = [one for one in outcomes if low <= flood.priorities[one.id] < high]
    return sum(not one.HasField("response") for one in chosen) / len(chosen)


@asynccontextmanager
async def flooded(**settings: Any) -> AsyncIterator[tuple[Face, Flood]]:
    """A router that sheds, because four times of what its worker can do is sent to it."""
    async with facing(slow_worker(), max_batch_size=BATCH, **settings) as face:
        flood = Flood(face)
        async with asyncio.TaskGroup() as group:
            group.create_task(flood.send())
            group.create_task(flood.receive())
            try:
                await until(lambda: face.router.admission.theta > 0.3)
                yield face, flood
            finally:
                flood.stop()


async def test_hot_texts_are_answered_and_the_least_important_refused_with_what_they_need_to_know() -> None:
    async with flooded() as (face, flood):
        first = len(flood.priorities)
        await asyncio.sleep(2.0)
        ratio = face.router.admission.signals.refused_ratio
        assert ratio is not None
        assert ratio > 0.3
        outcomes_then = dict(face.router.ledger.outcomes)
        assert outcomes_then["", "", Reason.PRIORITY, "cold"] > 0
    assert flood.outcomes.keys() == flood.priorities.keys()
    assert all(one.HasField("response") for one in flood.ends(hot=True))
    refused = [one for one in flood.ends(hot=False) if one.status.reason == Reason.PRIORITY]
    assert len(refused) > 100
    for one in refused:
        status = one.status
        assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert status.metadata["level"] == "0"
        assert 0.0 <= float(status.metadata["theta"]) <= 1.0
        assert status.HasField("retry_after") == (flood.priorities[one.id] >= 0.5)
    later = [one for one in flood.ends(hot=False) if one.id >= first]
    shares = [refused_of(later, low, low + 0.23, flood) for low in (0.0, 0.46)]
    assert shares[0] > shares[1]
    assert sum(face.router.ledger.outcomes.values()) == len(flood.priorities)
    assert face.router.open_requests == 0


async def test_when_the_flood_is_over_everybody_is_welcome_again() -> None:
    async with flooded() as (face, flood):
        flood.stop()
        await until(lambda: not face.router.admission.is_shedding)
        request = inference_pb2.InferRequest(text="again", priority=0.0)
        assert (await face.stub.Infer(request, timeout=5)).classification.label == "again"


async def test_a_single_call_is_told_in_its_trailers() -> None:
    async with flooded() as (face, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await face.stub.Infer(inference_pb2.InferRequest(text="text", priority=0.0), timeout=5)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        sent = dict(caught.value.trailing_metadata() or ())
        assert sent[PUSHBACK_KEY] == "-1"
        assert sent["x-sluice-level"] == "0"
        assert float(sent["x-sluice-theta"]) > 0.0
        details = status_pb2.Status.FromString(sent[DETAILS_KEY])  # type: ignore[arg-type]
        info = error_details_pb2.ErrorInfo()
        assert details.details[0].Unpack(info)
        assert (info.reason, info.domain) == ("rejected-priority", "sluice")
        hot = inference_pb2.InferRequest(text="hot", priority=1.0)
        assert (await face.stub.Infer(hot, timeout=5)).classification.label == "hot"


async def test_our_own_client_understands_it() -> None:
    async with flooded() as (face, _), AsyncClient(face.address) as client:
        with pytest.raises(Outranked) as caught:
            await client.infer("text", priority=0.0)
        assert caught.value.retry_after_s is None
        assert caught.value.metadata.keys() == {"level", "theta"}
        assert (await client.infer("hot", priority=0.9)).label == "hot"


async def test_the_open_inference_protocol_is_shed_alike_and_whole() -> None:
    async with flooded() as (face, _):
        message = oip_pb2.ModelInferRequest(model_name="echo")
        message.parameters["request_priority"].double_param = 0.0
        texts = [b"one", b"two", b"three"]
        message.inputs.add(name="text", datatype="BYTES", shape=[3]).contents.bytes_contents.extend(texts)
        before = face.router.admission.requests
        call = face.channel.unary_unary(MODEL_INFER)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(message.SerializeToString(), timeout=5)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(caught.value.trailing_metadata() or ())[PUSHBACK_KEY] == "-1"
        assert before >= 0
        message.parameters["request_priority"].double_param = 0.9
        answer = oip_pb2.ModelInferResponse.FromString(await call(message.SerializeToString(), timeout=5))
        assert b"two" in answer.raw_output_contents[0]


async def test_a_refused_id_is_free_again_and_one_that_is_open_is_still_open() -> None:
    async with flooded() as (face, _):
        call = face.stub.InferStream()
        cold = inference_pb2.InferRequest(text="text", priority=0.0)
        for _ in range(3):
            message = inference_pb2.InferStreamRequest()
            message.items.add(id=7, request=cold)
            await call.write(message)
            response = await asyncio.wait_for(call.read(), 10)
            assert [one.status.reason for one in response.outcomes] == ["rejected-priority"]  # type: ignore[union-attr]
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK


async def test_caps_alone_refuse_for_want_of_room_only() -> None:
    worker = FakeWorker(hold)
    async with facing(worker, admission="caps", max_open_requests=10) as face:
        # No caller fills them alone: the last fifth is for others.
        held = [face.stub.Infer(_hot(), timeout=10) for _ in range(8)]
        await until(lambda: face.router.open_requests == 8)
        async with AsyncClient(face.address) as client:
            with pytest.raises(Saturated) as caught:
                await client.infer("text", priority=1.0)
        assert caught.value.reason is Reason.SATURATED
        assert caught.value.retry_after_s is not None
        assert face.router.ledger.outcomes["", "", Reason.SATURATED, "hot"] == 3  # our client asks three times
        worker.release.set()
        await asyncio.gather(*held)


async def test_a_client_that_does_not_read_its_refusals_is_not_read_either() -> None:
    worker = FakeWorker(hold)
    async with facing(worker, max_open_requests=1, max_stream_items=50) as face:
        held = face.stub.Infer(_hot(), timeout=30)
        await until(lambda: face.router.open_requests == 1)
        call = face.stub.InferStream()

        async def send() -> None:
            for number in range(2_000):
                message = inference_pb2.InferStreamRequest()
                for item in range(50):
                    message.items.add(id=50 * number + item, request=_hot())
                await call.write(message)

        sending = asyncio.create_task(send())
        refusals = face.router.ledger.outcomes
        key = "", "", Reason.SATURATED, "hot"
        await until(lambda: refusals[key] > 0)
        counts = [-1]
        while refusals[key] != counts[-1]:
            counts.append(refusals[key])
            await asyncio.sleep(0.3)
        assert refusals[key] < 2_000 * 50
        sending.cancel()
        call.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        worker.release.set()
        await held


def _hot() -> inference_pb2.InferRequest:
    return inference_pb2.InferRequest(text="text", priority=1.0)
