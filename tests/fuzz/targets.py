"""What is attacked, how, and what each attack must end in: every public method, as its caller or member would use it.

A target sends random messages to one method and returns how many it sent. It raises Violation when an offered message
has no outcome, more than one, or one that only an unhandled exception produces (UNKNOWN).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from sluice.open_inference import grpc_service_pb2 as oip_pb2
from sluice.v1 import governor_service_pb2 as governor_pb2
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import worker_service_pb2 as worker_pb2
from tests.fuzz.message_generator import random_bytes_of

# Longer than any time limit that the meshes under attack know.
OUTCOME_S = 30.0
# A closed stream of a peer that goes on sending is left after so long.
LISTEN_S = 0.3
MAX_MESSAGES_OF_STREAM = 12

WORDS = (
    "echo", "scribe", "echo/full-fp32", "echo/light-fp32", "echo/quantized-fp32", "scribe/light-fp32", "identity",
    "text", "label", "score", "BYTES", "FP32", "timeout", "priority", "request_priority", "query_class", "real_time",
    "minimum_tier", "full", "truncate", "true", "127.0.0.1:1", "fake", "00-" + "1" * 32 + "-" + "2" * 16 + "-01",
)  # fmt: skip


class Violation(Exception):
    """The contract was broken. `data` are the messages that did it."""

    def __init__(self, what: str, *data: bytes) -> None:
        super().__init__(what)
        self.data = data


def _raw(channel: grpc.aio.Channel, kind: str, method: str) -> Any:
    # Without serializers bytes stay bytes.
    return getattr(channel, kind)(method)


async def _bounded(what: str, outcome: Awaitable[Any], *data: bytes) -> Any:
    try:
        return await asyncio.wait_for(outcome, OUTCOME_S)
    except TimeoutError:
        raise Violation(f"{what}: no outcome within {OUTCOME_S:g} s", *data) from None


def _check(what: str, error: grpc.aio.AioRpcError, *data: bytes) -> None:
    if error.code() is grpc.StatusCode.UNKNOWN:
        raise Violation(f"{what}: UNKNOWN: {error.details()}", *data)


async def call_unary(channel: grpc.aio.Channel, method: str, plausible: Message, rng: Random) -> int:
    """One call: an answer, or a status other than UNKNOWN."""
    data = random_bytes_of(rng, plausible, words=WORDS)
    try:
        await _bounded(method, _raw(channel, "unary_unary", method)(data), data)
    except grpc.aio.AioRpcError as error:
        _check(method, error, data)
    return 1


async def call_generate(channel: grpc.aio.Channel, rng: Random) -> int:
    """One stream: OK after exactly one finish reason, which is the last message's, or a status without one."""
    method = "/sluice.v1.InferenceService/Generate"
    plausible = inference_pb2.GenerateRequest(model="scribe", prompt="a short prompt", max_new_tokens=4)
    data = random_bytes_of(rng, plausible, words=WORDS)
    call = _raw(channel, "unary_stream", method)(data)
    reasons: list[int] = []
    leaves_after = rng.choice((1, 2, 1000, 1000, 1000))

    async def read() -> None:
        count = 0
        async for message in call:
            reasons.append(inference_pb2.GenerateResponse.FromString(message).finish_reason)
            count += 1
            if count >= leaves_after:
                call.cancel()
                return

    try:
        await _bounded(method, read(), data)
        if reasons and not call.cancelled() and (not reasons[-1] or any(reasons[:-1])):
            raise Violation(f"{method}: OK with finish reasons {reasons}", data)
        if not reasons:
            raise Violation(f"{method}: OK without a message", data)
    except grpc.aio.AioRpcError as error:
        _check(method, error, data)
    return 1


async def call_infer_stream(channel: grpc.aio.Channel, rng: Random) -> int:
    """One stream of several messages: after OK each id was answered as often as it was sent; never more often."""
    method = "/sluice.v1.InferenceService/InferStream"
    sent, offered = _stream_messages(rng)
    leaves = rng.random() < 0.1
    answered: Counter[int] = Counter()
    call = _raw(channel, "stream_stream", method)(_these(sent))

    async def read() -> None:
        async for message in call:
            answered.update(one.id for one in inference_pb2.InferStreamResponse.FromString(message).outcomes)
            if leaves:
                call.cancel()
                return

    is_complete = False
    try:
        await _bounded(method, read(), *sent)
        is_complete = not leaves
    except grpc.aio.AioRpcError as error:
        _check(method, error, *sent)
    if answered - offered:
        raise Violation(f"{method}: answered too often", *sent)
    if is_complete and offered - answered:
        raise Violation(f"{method}: OK without an outcome for every id", *sent)
    return len(sent)


def _stream_messages(rng: Random) -> tuple[list[bytes], Counter[int]]:
    """What is sent on one stream, and how often each id is offered by it."""
    sent: list[bytes] = []
    offered: Counter[int] = Counter()
    for number in range(rng.randint(1, MAX_MESSAGES_OF_STREAM)):
        plausible = inference_pb2.InferStreamRequest()
        for place in range(rng.randint(1, 6)):
            request = inference_pb2.InferRequest(model="echo", text=f"text {place}")
            plausible.items.add(id=number * 100 + place, request=request)
        data = random_bytes_of(rng, plausible, words=WORDS)
        sent.append(data)
        try:
            offered.update(item.id for item in inference_pb2.InferStreamRequest.FromString(data).items)
        except (DecodeError, UnicodeDecodeError):
            # It ends the stream.
            break
    return sent, offered


async def call_join(channel: grpc.aio.Channel, rng: Random) -> int:
    """A member that says anything: the governor ends the stream, or goes on listening, but never with UNKNOWN."""
    plausible = governor_pb2.JoinRequest()
    plausible.registration.id, plausible.registration.kind = f"fake-{rng.randrange(50)}", rng.choice((1, 2, 3))
    plausible.registration.address = f"127.0.0.1:{rng.randint(1, 9)}"
    sent = [random_bytes_of(rng, plausible, words=WORDS)]
    for _ in range(rng.randint(0, MAX_MESSAGES_OF_STREAM)):
        later = governor_pb2.JoinRequest()
        later.report.memory, later.report.utilization = rng.random(), rng.random()
        later.report.measured_at.GetCurrentTime()
        sent.append(random_bytes_of(rng, later, words=WORDS))
    return await _converse(channel, "/sluice.v1.GovernorService/Join", sent, rng)


async def call_watch(channel: grpc.aio.Channel, rng: Random) -> int:
    """Somebody who watches for a moment."""
    method = "/sluice.v1.GovernorService/WatchFleet"
    data = random_bytes_of(rng, governor_pb2.WatchFleetRequest(history=3), words=WORDS)
    call = _raw(channel, "unary_stream", method)(data)
    try:
        await asyncio.wait_for(_drain(call), LISTEN_S * rng.random())
    except TimeoutError:
        call.cancel()
    except grpc.aio.AioRpcError as error:
        _check(method, error, data)
    return 1


async def call_execute(channel: grpc.aio.Channel, rng: Random) -> int:
    """A router that says anything to a worker."""
    sent = []
    for number in range(rng.randint(1, MAX_MESSAGES_OF_STREAM)):
        message = worker_pb2.ExecuteRequest()
        if rng.random() < 0.6:
            message.batch.id, message.batch.variant = number, rng.choice(WORDS[2:6])
            for place in range(rng.randint(1, 4)):
                message.batch.items.add(id=number * 10 + place, text="text").timeout.seconds = 2
        elif rng.random() < 0.7:
            message.generation.id, message.generation.variant = number * 10 + 9, "scribe/light-fp32"
            message.generation.prompt, message.generation.max_new_tokens = "prompt", 3
        else:
            message.cancel.ids.extend(range(number * 10))
        sent.append(random_bytes_of(rng, message, words=WORDS))
    return await _converse(channel, "/sluice.v1.WorkerService/Execute", sent, rng)


async def _converse(channel: grpc.aio.Channel, method: str, sent: list[bytes], rng: Random) -> int:
    """Send all of `sent`, listen for a moment, and leave: by a half-close, or by going away."""
    call = _raw(channel, "stream_stream", method)()
    count = 0
    try:
        for data in sent:
            await asyncio.wait_for(call.write(data), OUTCOME_S)
            count += 1
        if rng.random() < 0.5:
            await call.done_writing()
            await asyncio.wait_for(_drain(call), LISTEN_S)
        else:
            await asyncio.wait_for(_drain(call), LISTEN_S * rng.random())
    except TimeoutError:
        call.cancel()
    except asyncio.InvalidStateError:
        # The other side has ended the stream already.
        if await call.code() is grpc.StatusCode.UNKNOWN:
            raise Violation(f"{method}: UNKNOWN: {await call.details()}", *sent[: count + 1]) from None
    except grpc.aio.AioRpcError as error:
        _check(method, error, *sent)
    return max(1, count)


async def _drain(call: Any) -> None:
    async for _ in call:
        pass


async def _these(messages: list[bytes]) -> AsyncIterator[bytes]:
    for message in messages:
        yield message
        await asyncio.sleep(0)


Attack = Callable[[Random], Awaitable[int]]


def attacks(
    router: grpc.aio.Channel, governor: grpc.aio.Channel, worker: grpc.aio.Channel
) -> dict[str, tuple[float, Attack]]:
    """The attacks by name, each with its weight."""
    infer = inference_pb2.InferRequest(model="echo", text="where is my parcel?")
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [b"a text"]}}
    oip_infer = oip_pb2.ModelInferRequest(model_name="echo", inputs=[tensor])
    oip = {
        "ServerLive": (0.2, oip_pb2.ServerLiveRequest()),
        "ServerReady": (0.2, oip_pb2.ServerReadyRequest()),
        "ServerMetadata": (0.2, oip_pb2.ServerMetadataRequest()),
        "ModelReady": (0.5, oip_pb2.ModelReadyRequest(name="echo")),
        "ModelMetadata": (0.5, oip_pb2.ModelMetadataRequest(name="echo")),
        "ModelInfer": (3.0, oip_infer),
    }
    degrade = governor_pb2.SetDegradationRequest(degradation={"levels": [1], "offload_share": 0.5})
    degrade.duration.seconds = 1
    load = worker_pb2.LoadModelRequest(model="echo", tier=1, checkpoint="identity")
    gone = worker_pb2.UnloadModelRequest(variant="nothing/full-fp32")
    unary = {
        "Infer": (5.0, router, "/sluice.v1.InferenceService/Infer", infer),
        "SetDegradation": (0.5, governor, "/sluice.v1.GovernorService/SetDegradation", degrade),
        "DescribeModels": (0.2, worker, "/sluice.v1.WorkerService/DescribeModels", worker_pb2.DescribeModelsRequest()),
        "LoadModel": (0.02, worker, "/sluice.v1.WorkerService/LoadModel", load),
        "UnloadModel": (0.2, worker, "/sluice.v1.WorkerService/UnloadModel", gone),
        **{
            name: (weight, router, f"/inference.GRPCInferenceService/{name}", message)
            for name, (weight, message) in oip.items()
        },
    }
    found: dict[str, tuple[float, Attack]] = {
        name: (weight, lambda rng, c=channel, m=method, p=plausible: call_unary(c, m, p, rng))  # type: ignore[misc]
        for name, (weight, channel, method, plausible) in unary.items()
    }
    found["Generate"] = 2.0, lambda rng: call_generate(router, rng)
    found["InferStream"] = 2.0, lambda rng: call_infer_stream(router, rng)
    found["Join"] = 0.5, lambda rng: call_join(governor, rng)
    found["WatchFleet"] = 0.05, lambda rng: call_watch(governor, rng)
    found["Execute"] = 0.5, lambda rng: call_execute(worker, rng)
    return found
