"""Streams that break the contract, go away or meet a router's end: each of their texts ends once, and nobody else's."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sluice.cli.mesh import free_port
from sluice.cli.process import ServiceProcess
from sluice.domain.errors import Reason
from sluice.open_inference import grpc_service_pb2 as oip_pb2
from sluice.transport.settings import Transport
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import inference_service_pb2_grpc as inference_grpc
from tests.integration.fake_worker import FakeWorker, answer_well, hold, serving
from tests.integration.live_router import Face, asks, end_of, facing, outcomes
from tests.unit.polling import until

INVALID = grpc.StatusCode.INVALID_ARGUMENT
GARBAGE = [b"\xff\xff\xff", b"\x0a\x05\x12\x03\x12\x01\xff", asks(1).SerializeToString()[:-1]]


async def answers_others(face: Face) -> None:
    """Another client's call is answered."""
    request = inference_pb2.InferRequest(text="other")
    assert (await face.stub.Infer(request, timeout=5)).classification.label == "other"


@pytest.mark.parametrize("garbage", GARBAGE, ids=["no message", "no utf-8", "cut off"])
async def test_a_message_that_cannot_be_read_ends_its_stream_and_only_that(garbage: bytes) -> None:
    worker = FakeWorker(hold)
    async with facing(worker) as face:
        bad, good = face.raw_stream(), face.stub.InferStream()
        await bad.write(asks(1, 2).SerializeToString())
        await good.write(asks(1, text="good"))
        await until(lambda: face.router.open_requests == 3)
        await bad.write(garbage)
        assert await end_of(bad) is INVALID
        await until(lambda: face.router.open_requests == 1)
        worker.release.set()
        assert await outcomes(good, 1) == {1: "good"}
        await answers_others(face)


@pytest.mark.parametrize("messages", [[asks(1), asks(1)], [asks(1, 1)], [asks(1, 2), asks(3, 2)]])
async def test_an_id_that_is_used_twice_at_a_time_ends_the_stream(
    messages: list[inference_pb2.InferStreamRequest],
) -> None:
    async with facing(FakeWorker(hold)) as face:
        call = face.stub.InferStream()
        for message in messages:
            await call.write(message)
        assert await end_of(call) is INVALID
        await until(lambda: face.router.open_requests == 0)


async def test_an_id_is_free_again_when_its_text_has_ended() -> None:
    async with facing(FakeWorker(answer_well)) as face:
        call = face.stub.InferStream()
        for text in ("first", "", "third"):
            await call.write(asks(7, text=text))
            assert await outcomes(call, 1) == {7: text or Reason.INVALID_ARGUMENT}
        await call.done_writing()
        assert await end_of(call) is grpc.StatusCode.OK


@pytest.mark.parametrize("how", ["cancels", "disconnects"])
async def test_when_a_client_vanishes_all_its_texts_are_cancelled_and_nobody_elses(how: str) -> None:
    worker = FakeWorker(hold, credits_=1)
    async with facing(worker, max_batch_size=2) as face:
        other = face.stub.InferStream()
        async with grpc.aio.insecure_channel(face.address) as channel:
            gone = inference_grpc.InferenceServiceStub(channel).InferStream()
            await gone.write(asks(1, 2, 3, 4))
            await until(lambda: worker.batches and face.router.open_requests == 4)
            await other.write(asks(1, text="other"))
            await until(lambda: face.router.open_requests == 5)
            if how == "cancels":
                gone.cancel()
                await until(lambda: face.router.open_requests == 1)
        await until(lambda: face.router.open_requests == 1)
        await until(lambda: sorted(worker.cancelled) == [item.id for item in worker.batches[0].items])
        worker.release.set()
        assert await outcomes(other, 1) == {1: "other"}
    # What had not been sent when its client went was never computed.
    assert [[item.text for item in batch.items] for batch in worker.batches] == [["text", "text"], ["other"]]


async def test_texts_that_are_no_longer_wanted_end_as_cancelled_wherever_they_are() -> None:
    worker = FakeWorker(hold, credits_=1)
    async with facing(worker, max_batch_size=2) as face:
        call = face.stub.InferStream()
        await call.write(asks(1, 2, 3, 4))
        await until(lambda: worker.batches)
        await call.write(asks(cancels=[2, 3, 99]))
        assert await outcomes(call, 2) == {2: Reason.CANCELLED, 3: Reason.CANCELLED}
        await until(lambda: worker.cancelled == [worker.batches[0].items[1].id])
        await call.write(asks(2, text="again"))
        await until(lambda: face.router.open_requests == 3)
        worker.release.set()
        assert await outcomes(call, 3) == {1: "text", 4: "text", 2: "again"}
        await call.write(asks(cancels=[1, 2]))
        await call.done_writing()
        assert await end_of(call) is grpc.StatusCode.OK
        assert face.router.open_requests == 0


async def test_each_text_has_a_time_limit_of_its_own() -> None:
    async with facing(FakeWorker(hold), default_timeout_s=0.2) as face:
        call = face.stub.InferStream()
        await call.write(asks(1, timeout=Duration(seconds=-1)))
        await call.write(asks(2, timeout=Duration()))
        await call.write(asks(3, timeout=Duration(nanos=50_000_000)))
        await call.write(asks(4))
        await call.write(asks(5, timeout=Duration(seconds=20)))
        assert await outcomes(call, 4) == dict.fromkeys((1, 2, 3, 4), Reason.EXPIRED)
        assert face.router.open_requests == 1


async def test_the_longest_time_limit_that_can_be_sent_costs_nobody_anything() -> None:
    async with facing(FakeWorker(answer_well)) as face:
        call = face.stub.InferStream()
        for number in range(3):
            await call.write(asks(number, timeout=Duration(seconds=2**63 - 1)))
        assert await outcomes(call, 3) == dict.fromkeys(range(3), "text")
        await answers_others(face)


BAD = {
    "nan": {"priority": float("nan")},
    "above one": {"priority": 1.5},
    "empty": {"text": ""},
    "unknown class": {"query_class": 99},
    "unknown tier": {"minimum_tier": -1},
    "unknown model": {"model": "nobody"},
    "long id": {"request_id": "x" * 129},
}


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD)
async def test_a_text_that_cannot_be_served_fails_alone(fields: dict[str, Any]) -> None:
    async with facing(FakeWorker(answer_well)) as face:
        call = face.stub.InferStream()
        message = asks(1, 2)
        message.items.add(id=3).request.CopyFrom(asks(3, **fields).items[0].request)
        message.items.extend(asks(4).items)
        await call.write(message)
        reason = Reason.UNKNOWN_MODEL if "model" in fields else Reason.INVALID_ARGUMENT
        assert await outcomes(call, 4) == {1: "text", 2: "text", 3: reason, 4: "text"}


async def test_a_stream_with_too_many_texts_open_is_slowed_and_loses_nothing() -> None:
    worker = FakeWorker(hold)
    async with facing(worker, max_stream_items=4) as face:
        call, other = face.stub.InferStream(), face.stub.InferStream()
        for number in range(40):
            await call.write(asks(number))
        await call.done_writing()
        await other.write(asks(1, text="other"))
        await until(lambda: face.router.open_requests == 5)
        await asyncio.sleep(0.1)
        assert face.router.open_requests == 5
        worker.release.set()
        assert await outcomes(call, 40) == dict.fromkeys(range(40), "text")
        assert await end_of(call) is grpc.StatusCode.OK
        assert await outcomes(other, 1) == {1: "other"}


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["timeout", "priority"])
async def test_a_number_that_is_none_is_an_oip_callers_mistake(name: str, value: float) -> None:
    async with facing(FakeWorker(answer_well)) as face:
        request = oip_pb2.ModelInferRequest(model_name="echo")
        request.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"text")
        request.parameters[name].double_param = value
        infer: Any = face.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")  # type: ignore[call-arg]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await infer(request.SerializeToString(), timeout=5)
        assert caught.value.code() is INVALID
        await answers_others(face)


async def test_a_half_closed_stream_that_is_all_answered_ends_well_although_the_router_is_stopping() -> None:
    worker = FakeWorker(hold)
    async with facing(worker) as face:
        call = face.stub.InferStream()
        await call.write(asks(1))
        await call.done_writing()
        await until(lambda: worker.batches)
        face.servicer.close_streams()
        worker.release.set()
        assert await outcomes(call, 1) == {1: "text"}
        assert await end_of(call) is grpc.StatusCode.OK


async def test_a_router_that_is_stopped_answers_what_is_open_and_then_ends_its_streams(tmp_path: Path) -> None:
    worker = FakeWorker(hold)
    listen = f"127.0.0.1:{free_port()}"
    async with serving(worker) as address, grpc.aio.insecure_channel(listen) as channel:
        settings = {
            "SLUICE_ROUTER_LISTEN": listen,
            "SLUICE_ROUTER_WORKERS": f"[{address}]",
            "SLUICE_CONFIG": os.devnull,
        }
        router = ServiceProcess("router", address=listen, environ={**os.environ, **settings}, log=tmp_path / "log")
        router.start()
        try:
            await router.ready(30)
            call = inference_grpc.InferenceServiceStub(channel).InferStream()
            await call.write(asks(1, 2))
            await until(lambda: worker.batches)
            router.signal(signal.SIGTERM)
            health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="readiness"))
            async with asyncio.timeout(10):
                while (await health.read()).status != health_pb2.HealthCheckResponse.NOT_SERVING:
                    pass
            # It goes on accepting for a while, and then refuses what is new.
            await call.write(asks(3))
            await asyncio.sleep(2 * Transport().lame_duck_s)
            await call.write(asks(4))
            assert await outcomes(call, 1) == {4: Reason.SHUTTING_DOWN}
            worker.release.set()
            assert await outcomes(call, 3) == {1: "text", 2: "text", 3: "text"}
            assert await end_of(call) is grpc.StatusCode.UNAVAILABLE
            assert await router.ended(10)
            assert router.exit_code == 0
        finally:
            router.signal(signal.SIGKILL)
            await router.ended(10)
