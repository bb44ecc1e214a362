"""Nothing that a caller wrote stays in the router once its requests have ended; while they are open, it counts."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FunctionType, ModuleType, TracebackType
from typing import Any

import grpc
import pytest

from sluice.domain.errors import WorkerFailed
from sluice.domain.status import to_item_status
from sluice.open_inference import grpc_service_pb2 as oip_pb2
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import worker_service_pb2 as worker_pb2
from tests.integration.fake_worker import Answerer, FakeWorker, answer_well, hold
from tests.integration.live_router import Face, asks, end_of, facing, outcomes
from tests.unit.polling import until

MARK = "written by a caller"


def reachable(root: object) -> Iterator[object]:
    """Everything that `root` holds, at any depth, but for code."""
    seen = {id(root)}
    found = [root]
    while found:
        one = found.pop()
        yield one
        for inner in gc.get_referents(one):
            if id(inner) not in seen and not isinstance(inner, type | ModuleType | FunctionType):
                seen.add(id(inner))
                found.append(inner)


def kept_words(root: object) -> list[str]:
    """The strings that `root` holds and a caller wrote."""
    return [one for one in reachable(root) if isinstance(one, str) and MARK in one]


async def tried(call: Any) -> None:
    """Whatever becomes of it."""
    with suppress(grpc.aio.AioRpcError):
        await call


async def drained(call: Any) -> None:
    async for _ in call:
        pass


async def ask_everything(face: Face, number: int) -> None:
    """Every string that can be sent, each of its own."""

    def words(what: str) -> str:
        return f"{number} {what} {MARK}"

    fields = {"conversation_id": words("conversation"), "request_id": words("request")}
    trace = (("traceparent", words("trace")),)
    await tried(face.stub.Infer(inference_pb2.InferRequest(text="t", **fields), timeout=5, metadata=trace))
    await tried(face.stub.Infer(inference_pb2.InferRequest(text="t", model=words("model"), **fields), timeout=5))
    await tried(face.stub.Infer(inference_pb2.InferRequest(text="", model=words("model"), **fields), timeout=5))
    generate = inference_pb2.GenerateRequest(prompt="t", model=words("model"), stop=[words("stop")])
    await tried(drained(face.stub.Generate(generate, timeout=5)))
    call = face.stub.InferStream()
    await call.write(asks(1, text="t", **fields))
    await call.write(asks(2, text="t", model=words("model"), **fields))
    await outcomes(call, 2)
    await call.done_writing()
    await end_of(call)
    message = oip_pb2.ModelInferRequest(model_name=words("model"), id=words("id"))
    message.parameters[words("parameter")].string_param = words("value")
    message.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"t")
    await tried(face.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(message.SerializeToString()))  # type: ignore[call-arg]


async def test_no_word_of_a_caller_is_kept_when_its_requests_have_ended() -> None:
    async with facing(FakeWorker(answer_well)) as face:
        for number in range(20):
            await ask_everything(face, number)
        await until(lambda: face.router.open_requests == 0)
        # Accounts of the last second, and what a task that has just ended still holds.
        await until(lambda: not kept_words(face.router))
        assert face.router.admission.size == 0
        assert {model for model, *_ in face.router.ledger.outcomes} <= {"", "echo"}


async def test_the_walk_sees_what_is_held_and_all_of_it_counts_as_open_bytes() -> None:
    async with facing(FakeWorker(hold)) as face:
        request = inference_pb2.InferRequest(
            text=f"{MARK} {'x' * 1000}", request_id="r" * 100, conversation_id="c" * 200
        )
        asked = asyncio.ensure_future(tried(face.stub.Infer(request, timeout=10)))
        call = face.stub.InferStream()
        await call.write(asks(1, text="t" * 1000, conversation_id="c" * 200))
        await until(lambda: face.router.open_requests == 2)
        assert kept_words(face.router)
        assert face.router.admission.size >= request.ByteSize() + len(request.text) + 2 * 1000 + 200
        asked.cancel()
        call.cancel()
        await until(lambda: face.router.open_requests == 0)
        assert face.router.admission.size == 0


async def fail(worker: FakeWorker, batch: worker_pb2.Batch, context: Any) -> None:
    """Say of each text that it failed."""
    result = worker_pb2.BatchResult(batch_id=batch.id)
    for item in batch.items:
        result.results.add(id=item.id).status.CopyFrom(to_item_status(WorkerFailed("it failed")))
    await worker.write(
        context, worker_pb2.ExecuteResponse(result=result, credit=worker_pb2.Credit(batches=1, max_items=128))
    )


def tracebacks() -> list[TracebackType]:
    """All that errors hold, of the whole process."""
    return [one for one in gc.get_objects() if type(one) is TracebackType]


class NoCollector:
    """While it lasts, only what nobody holds any more is freed."""

    def __init__(self) -> None:
        # What earlier tests left, which is held here so that nothing new can take its place.
        self._former = tracebacks()

    def frames_of_errors(self) -> set[str]:
        """The router's functions that new errors hold by their tracebacks, and with them whatever those had in hand."""
        former = set(map(id, self._former))
        codes = [one.tb_frame.f_code for one in tracebacks() if id(one) not in former]
        return {code.co_qualname for code in codes if "/services/" in code.co_filename or code.co_qualname == "abort"}


@contextmanager
def no_collector() -> Iterator[NoCollector]:
    """Free by hand, and then by reference counts only."""
    gc.collect()
    gc.disable()
    try:
        yield NoCollector()
    finally:
        gc.enable()


async def test_no_failed_call_leaves_its_request_to_the_garbage_collector() -> None:
    async with facing(FakeWorker(answer_well)) as face:
        with no_collector() as process:
            for number in range(5):
                await ask_everything(face, number)
                infer = inference_pb2.InferRequest
                await tried(face.stub.Infer(infer(text="t", conversation_id=MARK * 100), timeout=5))
                await tried(face.channel.unary_unary("/sluice.v1.InferenceService/Infer")(b"\xff", timeout=5))  # type: ignore[call-arg]
                call = face.raw_stream()
                await call.write(b"\xff")
                await end_of(call)
            await until(lambda: not process.frames_of_errors())


@pytest.mark.parametrize(("answer", "most"), [(fail, 1_000), (hold, 1_000), (hold, 1)])
async def test_nor_does_one_that_its_worker_fails_or_whose_time_is_up_or_that_is_refused(
    answer: Answerer, most: int
) -> None:
    async with facing(FakeWorker(answer), max_open_requests=most) as face:
        with no_collector() as process:
            for number in range(5):
                requests = [inference_pb2.InferRequest(text=f"{number} {one} {MARK}") for one in range(2)]
                await asyncio.gather(*(tried(face.stub.Infer(one, timeout=0.2)) for one in requests))
            await until(lambda: not process.frames_of_errors())
