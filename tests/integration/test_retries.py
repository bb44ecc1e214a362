"""Calls that are refused as a whole can be tried again by any client library that has a retry policy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
import pytest

from benchmarks.stock_clients import LANGUAGES, Missing, Plan, call
from sluice import AsyncClient
from sluice.client.options import channel_options, service_config
from sluice.domain.errors import Reason, Saturated
from sluice.domain.status import PUSHBACK_KEY, RETRY_AFTER_KEY
from sluice.open_inference import grpc_service_pb2 as oip_pb2
from sluice.v1 import inference_service_pb2 as inference_pb2
from tests.integration.fake_worker import FakeWorker, hold
from tests.integration.live_router import Face, facing
from tests.unit.polling import until

INFER = "/sluice.v1.InferenceService/Infer"
GENERATE = "/sluice.v1.InferenceService/Generate"
INFER_STREAM = "/sluice.v1.InferenceService/InferStream"
MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
ATTEMPTS = 3


def infer() -> bytes:
    """One hot text."""
    return inference_pb2.InferRequest(text="text", query_class=1, priority=1.0).SerializeToString()


def generate() -> bytes:
    """One hot prompt."""
    return inference_pb2.GenerateRequest(prompt="text", priority=1.0).SerializeToString()


def model_infer() -> bytes:
    """One hot text, by the other protocol."""
    message = oip_pb2.ModelInferRequest(model_name="echo")
    message.parameters["request_priority"].double_param = 1.0
    message.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"text")
    return message.SerializeToString()


def refused(face: Face) -> int:
    """How often the router has refused for want of room."""
    return sum(count for key, count in face.router.ledger.outcomes.items() if Reason.SATURATED in key)


async def filled(face: Face) -> asyncio.Future[object]:
    """Take the router's only place, until the worker is released."""
    held = asyncio.ensure_future(face.stub.Infer(inference_pb2.InferRequest.FromString(infer()), timeout=30))
    await until(lambda: face.router.open_requests == 1)
    return held


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("method", "body"), [(INFER, infer), (MODEL_INFER, model_infer)], ids=["sluice", "oip"])
async def test_stock_clients_try_a_refused_call_again(language: str, method: str, body: Callable[[], bytes]) -> None:
    async with facing(FakeWorker(hold), admission="caps", max_open_requests=1) as face:
        held = await filled(face)
        plan = Plan((face.address,), method, body(), config=service_config())
        try:
            ends = await call(language, plan)
        except Missing as why:
            pytest.skip(str(why))
        assert ends.codes == {"RESOURCE_EXHAUSTED": 1}
        assert refused(face) == ATTEMPTS
        without = await call(language, Plan((face.address,), method, body()))
        assert without.codes == {"RESOURCE_EXHAUSTED": 1}
        assert refused(face) == ATTEMPTS + 1
        assert not held.done()
        held.cancel()


async def test_a_refused_generation_is_tried_again() -> None:
    async with (
        facing(FakeWorker(hold), admission="caps", max_open_requests=1) as face,
        grpc.aio.insecure_channel(face.address, options=channel_options()) as channel,
    ):
        held = await filled(face)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in channel.unary_stream(GENERATE)(generate(), timeout=10):
                pass
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused(face) == ATTEMPTS
        held.cancel()


async def test_a_stream_that_a_stopping_router_refuses_is_tried_again() -> None:
    async with (
        facing(FakeWorker(hold)) as face,
        grpc.aio.insecure_channel(face.address, options=channel_options()) as channel,
    ):
        face.router.draining = True
        call = channel.stream_stream(INFER_STREAM)(timeout=10)
        await call.done_writing()
        asyncio.get_running_loop().call_later(0.05, setattr, face.router, "draining", False)
        assert await call.code() is grpc.StatusCode.OK


async def test_the_place_that_becomes_free_meanwhile_is_taken() -> None:
    worker = FakeWorker(hold)
    async with (
        facing(worker, admission="caps", max_open_requests=1) as face,
        AsyncClient(face.address) as client,
    ):
        held = await filled(face)
        asking = asyncio.create_task(client.infer("again", priority=1.0))
        await until(lambda: refused(face) >= 1)
        worker.release.set()
        assert (await asking).label == "again"
        await held


async def test_when_to_come_back_is_said_in_grpcs_words_and_in_plain_ones() -> None:
    async with facing(FakeWorker(hold), admission="caps", max_open_requests=1) as face:
        held = await filled(face)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await face.stub.Infer(inference_pb2.InferRequest.FromString(infer()), timeout=5)
        sent = dict(caught.value.trailing_metadata() or ())
        assert sent[RETRY_AFTER_KEY] == "1"
        assert 100 <= int(sent[PUSHBACK_KEY]) <= 1000
        held.cancel()


async def test_our_client_tells_a_refusal_that_stays() -> None:
    async with (
        facing(FakeWorker(hold), admission="caps", max_open_requests=1) as face,
        AsyncClient(face.address) as client,
    ):
        held = await filled(face)
        with pytest.raises(Saturated):
            await client.infer("text", priority=1.0)
        assert refused(face) == ATTEMPTS
        held.cancel()
