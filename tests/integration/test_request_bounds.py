"""Every field of every public request has a bound; what breaks it is refused by the field's name and hurts nobody."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from services.router.config import RouterConfig
from services.router.requests import validation as bounds
from sluice.client.failure import from_rpc_error
from sluice.domain.errors import InvalidRequest
from sluice.open_inference import grpc_service_pb2 as oip_pb2
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import worker_service_pb2 as worker_pb2
from tests.integration.fake_worker import FakeWorker, answer_well
from tests.integration.live_router import Face, facing

SERVICES = (inference_pb2.DESCRIPTOR, oip_pb2.DESCRIPTOR)
SLUICE, OIP = "sluice.v1.InferenceService", "inference.GRPCInferenceService"
LONG = RouterConfig().max_text_bytes + 1
NAN, INF = float("nan"), float("inf")


class Broken(NamedTuple):
    """A request that breaks one bound: what is called with it, and the field that is named."""

    method: str
    message: Message
    field: str


def infer(field: str, **fields: Any) -> Broken:
    request = inference_pb2.InferRequest(**{"text": "text", **fields})
    return Broken(f"{SLUICE}/Infer", request, field)


def item(field: str, *, request: Mapping[str, Any] | None = None, **fields: Any) -> Broken:
    message = inference_pb2.InferStreamRequest()
    message.items.add(id=2**64 - 1, request=inference_pb2.InferRequest(**{"text": "text", **(request or {})}), **fields)
    return Broken(f"{SLUICE}/InferStream", message, field)


def generate(field: str, **fields: Any) -> Broken:
    request = inference_pb2.GenerateRequest(**{"prompt": "text", **fields})
    return Broken(f"{SLUICE}/Generate", request, field)


def model_infer(field: str, change: Callable[[oip_pb2.ModelInferRequest], object]) -> Broken:
    message = oip_pb2.ModelInferRequest(model_name="echo")
    message.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"text")
    change(message)
    return Broken(f"{OIP}/ModelInfer", message, field)


def parameter(name: str, **value: Any) -> Broken:
    sent = oip_pb2.InferParameter(**value)
    return model_infer(f"parameters.{name}", lambda message: message.parameters[name].CopyFrom(sent))


def named(kind: type[Message]) -> Broken:
    method = kind.DESCRIPTOR.name.removesuffix("Request")
    return Broken(f"{OIP}/{method}", kind(name="m" * (bounds.MAX_MODEL_BYTES + 1)), "name")


def first_input(**fields: Any) -> Callable[[oip_pb2.ModelInferRequest], object]:
    return lambda message: message.inputs[0].MergeFrom(oip_pb2.ModelInferRequest.InferInputTensor(**fields))


ANY = "any value of its type is served"
DROPPED = "not read, and not kept"
IDS = "only compared with what is open"

# What is known of every field of every public request: how its bound is broken, or why it needs none.
BOUNDS: dict[str, list[Broken] | str] = {
    "sluice.v1.InferRequest.model": [infer("model", model="m" * 257), item("model", request={"model": "é" * 129})],
    "sluice.v1.InferRequest.text": [
        infer("text", text=""),
        infer("text", text=" \n"),
        infer("text", text="x" * LONG),
        item("text", request={"text": "水" * (LONG // 3 + 1)}),
    ],
    "sluice.v1.InferRequest.priority": [infer("priority", priority=value) for value in (-0.1, 1.1, NAN, INF)],
    "sluice.v1.InferRequest.query_class": [infer("query_class", query_class=99), infer("query_class", query_class=-1)],
    "sluice.v1.InferRequest.minimum_tier": [infer("minimum_tier", minimum_tier=99)],
    "sluice.v1.InferRequest.truncate": ANY,
    "sluice.v1.InferRequest.top_k": ANY,
    "sluice.v1.InferRequest.conversation_id": [
        infer("conversation_id", conversation_id="c" * 257),
        item("conversation_id", request={"conversation_id": "c" * 257}),
    ],
    "sluice.v1.InferRequest.request_id": [infer("request_id", request_id="r" * 129)],
    "sluice.v1.InferStreamRequest.cancelled_ids": IDS,
    "sluice.v1.InferStreamItem.id": IDS,
    "sluice.v1.InferStreamItem.timeout": "a longer one counts as MAX_TIMEOUT_S",
    "sluice.v1.InferStreamItem.traceparent": "a longer one counts as none",
    "sluice.v1.GenerateRequest.model": [generate("model", model="m" * 257)],
    "sluice.v1.GenerateRequest.prompt": [generate("prompt", prompt=""), generate("prompt", prompt="x" * LONG)],
    "sluice.v1.GenerateRequest.priority": [generate("priority", priority=value) for value in (-0.1, NAN)],
    "sluice.v1.GenerateRequest.minimum_tier": [generate("minimum_tier", minimum_tier=4)],
    "sluice.v1.GenerateRequest.max_new_tokens": [generate("max_new_tokens", max_new_tokens=2**31)],
    "sluice.v1.GenerateRequest.temperature": [
        generate("temperature", temperature=value) for value in (-1.0, 1e6 + 1, NAN, INF)
    ],
    "sluice.v1.GenerateRequest.top_p": [generate("top_p", top_p=value) for value in (0.0, -0.5, 1.1, NAN)],
    "sluice.v1.GenerateRequest.top_k": [generate("top_k", top_k=value) for value in (2**31, 2**32 - 1)],
    "sluice.v1.GenerateRequest.seed": ANY,
    "sluice.v1.GenerateRequest.stop": [
        generate("stop", stop=["x"] * 17),
        generate("stop", stop=[""]),
        generate("stop", stop=["é" * 129]),
    ],
    "sluice.v1.GenerateRequest.request_id": [generate("request_id", request_id="r" * 129)],
    "inference.ModelReadyRequest.name": [named(oip_pb2.ModelReadyRequest)],
    "inference.ModelReadyRequest.version": DROPPED,
    "inference.ModelMetadataRequest.name": [named(oip_pb2.ModelMetadataRequest)],
    "inference.ModelMetadataRequest.version": DROPPED,
    "inference.ModelInferRequest.model_name": [
        model_infer("model_name", lambda message: setattr(message, "model_name", "m" * 257))
    ],
    "inference.ModelInferRequest.model_version": DROPPED,
    "inference.ModelInferRequest.id": [model_infer("id", lambda message: setattr(message, "id", "r" * 129))],
    "inference.ModelInferRequest.ParametersEntry.key": [
        model_infer("parameters", lambda message: [message.parameters[str(key)].SetInParent() for key in range(65)])
    ],
    "inference.InferParameter.bool_param": [parameter("priority", bool_param=True)],
    "inference.InferParameter.int64_param": [parameter("timeout", int64_param=-1)],
    "inference.InferParameter.string_param": [
        parameter("timeout", string_param="9" * 400),
        parameter("query_class", string_param="x" * 1_000_000),
    ],
    "inference.InferParameter.double_param": [parameter("request_priority", double_param=NAN)],
    "inference.InferParameter.uint64_param": [parameter("timeout", uint64_param=2**64 - 1)],
    "inference.ModelInferRequest.InferInputTensor.name": [
        model_infer("inputs.name", first_input(name="t" * 1_000_000))
    ],
    "inference.ModelInferRequest.InferInputTensor.datatype": [
        model_infer("inputs.datatype", first_input(datatype="B" * 1_000_000))
    ],
    "inference.ModelInferRequest.InferInputTensor.shape": [
        model_infer("inputs.shape", first_input(shape=[1] * 100_000)),
        model_infer("inputs.shape", lambda message: message.inputs[0].shape.__setitem__(0, 2**63 - 1)),
        model_infer("inputs.shape", lambda message: message.inputs[0].shape.__setitem__(0, 1025)),
    ],
    "inference.ModelInferRequest.InferInputTensor.ParametersEntry.key": DROPPED,
    "inference.InferTensorContents.bool_contents": DROPPED,
    "inference.InferTensorContents.int_contents": DROPPED,
    "inference.InferTensorContents.int64_contents": DROPPED,
    "inference.InferTensorContents.uint_contents": DROPPED,
    "inference.InferTensorContents.uint64_contents": DROPPED,
    "inference.InferTensorContents.fp32_contents": DROPPED,
    "inference.InferTensorContents.fp64_contents": DROPPED,
    "inference.InferTensorContents.bytes_contents": [
        model_infer("inputs.shape", lambda message: message.inputs[0].contents.bytes_contents.append(b"more")),
        model_infer("text", lambda message: message.inputs[0].contents.bytes_contents.__setitem__(0, b"x" * LONG)),
        model_infer(
            "inputs.contents", lambda message: message.inputs[0].contents.bytes_contents.__setitem__(0, b"\xff")
        ),
    ],
    "inference.ModelInferRequest.InferRequestedOutputTensor.name": [
        model_infer("outputs.name", lambda message: message.outputs.add(name="x" * 1_000_000)),
        model_infer("outputs", lambda message: [message.outputs.add(name="label") for _ in range(3)]),
    ],
    "inference.ModelInferRequest.InferRequestedOutputTensor.ParametersEntry.key": DROPPED,
    "inference.ModelInferRequest.raw_input_contents": [
        model_infer("raw_input_contents", lambda message: message.raw_input_contents.extend([b"", b""])),
        model_infer("raw_input_contents", lambda message: message.raw_input_contents.append(b"\xff\xff\xff\xff")),
        model_infer("inputs.shape", lambda message: message.raw_input_contents.append(struct.pack("<I", 0) * 1025)),
    ],
}
BROKEN = [broken for found in BOUNDS.values() if not isinstance(found, str) for broken in found]


def fields_of(kind: Descriptor, seen: set[str]) -> Iterator[str]:
    """The full names of all fields that can stand in a message of `kind`, except those that are messages themselves."""
    if kind.full_name in seen:
        return
    seen.add(kind.full_name)
    for field in kind.fields:
        inner = field.message_type
        if inner is None or inner.full_name == "google.protobuf.Duration":
            yield field.full_name
        else:
            yield from fields_of(inner, seen)


def asked() -> set[str]:
    """The fields of everything that the router's public services are asked with."""
    seen: set[str] = set()
    return {
        name
        for file in SERVICES
        for service in file.services_by_name.values()
        for method in service.methods
        for name in fields_of(method.input_type, seen)
    }


async def drained(call: Any) -> None:
    """Read `call` to its end."""
    async for _ in call:
        pass


async def refused_field(face: Face, broken: Broken) -> str:
    """The field that the router finds at fault with it."""
    method, data = f"/{broken.method}", broken.message.SerializeToString()
    if broken.method.endswith("InferStream"):
        call = face.raw_stream()
        await call.write(data)
        (outcome,) = (await call.read()).outcomes
        call.cancel()
        assert outcome.status.reason == InvalidRequest.reason
        return str(outcome.status.field)
    many = broken.method.endswith("Generate")
    ask = face.channel.unary_stream(method) if many else face.channel.unary_unary(method)  # type: ignore[call-arg]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (drained(ask(data, timeout=10)) if many else ask(data, timeout=10))
    error = from_rpc_error(caught.value)
    assert isinstance(error, InvalidRequest), (broken.field, caught.value)
    # Nobody's own words come back to him at length.
    assert len(error.message) < 1_000
    return error.field


def errors_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as an error, but for grpc.aio's complaint about the loop of an earlier test."""
    found = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    return [message for message in found if "PollerCompletionQueue" not in message]


def test_every_field_of_every_public_request_is_accounted_for() -> None:
    assert BOUNDS.keys() == asked()


async def test_what_breaks_a_bound_is_refused_by_its_field_and_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with facing(FakeWorker(answer_well)) as face:
        named = [await refused_field(face, broken) for broken in BROKEN]
        assert named == [broken.field for broken in BROKEN]
        answer = await face.stub.Infer(inference_pb2.InferRequest(text="other"), timeout=5)
        assert answer.classification.label == "other"
        assert face.router.open_requests == face.router.admission.size == 0
    assert errors_in(caplog) == []


async def test_bytes_that_are_no_message_are_the_callers_mistake(caplog: pytest.LogCaptureFixture) -> None:
    async with facing(FakeWorker(answer_well)) as face:
        for method in ("ServerLive", "ModelReady", "ModelMetadata", "ModelInfer"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await face.channel.unary_unary(f"/{OIP}/{method}")(b"\x0a\x02\xff\xfe\xff", timeout=10)  # type: ignore[call-arg]
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert errors_in(caplog) == []


async def answer_briefly(worker: FakeWorker, batch: worker_pb2.Batch, context: Any) -> None:
    """Answer with a label that a worker may give, however long the text."""
    for item in batch.items:
        item.text = "brief"
    await answer_well(worker, batch, context)


async def test_the_most_that_is_allowed_is_served() -> None:
    async with facing(FakeWorker(answer_briefly)) as face:
        request = inference_pb2.InferRequest(
            text="x" * (LONG - 1),
            priority=1.0,
            top_k=2**32 - 1,
            conversation_id="c" * bounds.MAX_CONVERSATION_ID_BYTES,
            request_id="r" * bounds.MAX_REQUEST_ID_BYTES,
        )
        answer = await face.stub.Infer(request, timeout=10)
        assert answer.request_id == request.request_id
        message = inference_pb2.InferStreamRequest()
        message.items.add(
            id=2**64 - 1,
            request=request,
            timeout=Duration(seconds=2**63 - 1, nanos=2**31 - 1),
            traceparent="t" * 1_000_000,
        )
        call = face.raw_stream()
        await call.write(message.SerializeToString())
        (outcome,) = (await call.read()).outcomes
        call.cancel()
        assert outcome.response.request_id == request.request_id
