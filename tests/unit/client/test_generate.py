"""Texts read by the two clients from a router that the test writes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sluice import AsyncClient, Client, Generated, Prompt
from sluice.client.generated import Draft
from sluice.client.prompt import to_proto
from sluice.client.text_stream import AsyncTextStream, TextStream
from sluice.domain.enums import Tier
from sluice.domain.errors import Expired, InvalidRequest, NoEndpoint, SluiceError, WorkerLost
from sluice.domain.status import abort
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import inference_service_pb2_grpc as inference_grpc
from tests.unit.client.serving import serving
from tests.unit.polling import until

Response = inference_pb2.GenerateResponse
FIRST = Response(text="Once", tokens=1, variant="m/light-fp32", worker="w1", tier=2, degraded_from=3, trace_id="t")  # type: ignore[arg-type]
REST = (Response(tokens=2), Response(text=" upon", tokens=3))
LAST = Response(text=" a time", tokens=5, prompt_tokens=2, finish_reason=inference_pb2.FINISH_REASON_LENGTH)
WHOLE = (FIRST, *REST, LAST)
RESULT = Generated(
    text="Once upon a time",
    finish_reason="length",
    tokens=5,
    prompt_tokens=2,
    variant="m/light-fp32",
    tier=Tier.LIGHT,
    worker="w1",
    degraded_from=Tier.FULL,
    trace_id="t",
)
Read = Callable[[str, Prompt], Awaitable[tuple[list[str], Generated | SluiceError]]]


class ScriptedRouter(inference_grpc.InferenceServiceServicer):
    """Writes `messages`, then fails with `error` if there is one. The first `refusals` calls find nobody."""

    def __init__(self, *messages: Response, error: SluiceError | None = None, refusals: int = 0) -> None:
        self.messages = messages
        self.error = error
        self.refusals = refusals
        self.requests: list[inference_pb2.GenerateRequest] = []
        self.remaining_s: list[float] = []
        self.goes_on = False
        self.left = 0

    async def Generate(self, request: inference_pb2.GenerateRequest, context: Any) -> None:
        self.requests.append(request)
        self.remaining_s.append(context.time_remaining())
        if len(self.requests) <= self.refusals:
            await abort(context, NoEndpoint("nobody yet"))
        try:
            for message in self.messages:
                await context.write(message)
            while self.goes_on:
                await context.write(Response(text="x", tokens=9))
                await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            self.left += 1
            raise
        if self.error is not None:
            await abort(context, self.error)


async def in_thread(address: str, prompt: Prompt) -> tuple[list[str], Generated | SluiceError]:
    def read() -> tuple[list[str], Generated | SluiceError]:
        pieces: list[str] = []
        with Client(address, timeout_s=20) as client:
            stream = client.generate(prompt)
            try:
                pieces.extend(stream)
            except SluiceError as error:
                return pieces, error
            return pieces, stream.result

    return await asyncio.to_thread(read)


async def in_loop(address: str, prompt: Prompt) -> tuple[list[str], Generated | SluiceError]:
    pieces: list[str] = []
    async with AsyncClient(address, timeout_s=20) as client:
        stream = client.generate(prompt)
        try:
            async for piece in stream:
                pieces.append(piece)  # noqa: PERF401  what came before a failure counts
        except SluiceError as error:
            return pieces, error
        return pieces, stream.result


both = pytest.mark.parametrize("read", [in_thread, in_loop])
PROMPT = Prompt(text="prompt")


def test_a_prompt_says_only_what_the_caller_said() -> None:
    assert to_proto(PROMPT) == inference_pb2.GenerateRequest(prompt="prompt")
    message = to_proto(
        Prompt(
            text="p", model="m", priority=0.0, minimum_tier=Tier.LIGHT, max_new_tokens=7, temperature=0.0, top_p=0.5,
            top_k=3, seed=0, stop=("a", "b"), request_id="r",
        )
    )  # fmt: skip
    assert all(message.HasField(name) for name in ("priority", "temperature", "top_p", "seed"))
    assert (message.model, message.minimum_tier, message.max_new_tokens, message.top_k) == ("m", 2, 7, 3)
    assert (list(message.stop), message.request_id) == (["a", "b"], "r")
    assert list(to_proto(Prompt(text="p", stop="end")).stop) == ["end"]


@pytest.mark.parametrize("options", [{"max_new_tokens": 0}, {"max_new_tokens": 1 << 32}, {"seed": -1}])
def test_a_number_that_no_message_holds_is_refused_before_it_is_sent(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"\d"):
        to_proto(Prompt(text="p", **options))  # type: ignore[arg-type]


@both
async def test_a_text_is_read_piece_by_piece_and_ends_with_its_result(read: Read) -> None:
    router = ScriptedRouter(*WHOLE)
    async with serving(router) as address:
        assert await read(address, PROMPT) == (["Once", " upon", " a time"], RESULT)
        await read(address, Prompt(text="prompt", timeout_s=3))
    assert 15 < router.remaining_s[0] < 21
    assert router.remaining_s[1] < 4


@both
async def test_a_failure_comes_behind_what_was_written(read: Read) -> None:
    lost = WorkerLost("gone")
    lost.metadata = {"tokens": "3"}
    async with serving(ScriptedRouter(FIRST, *REST, error=lost)) as address:
        pieces, error = await read(address, PROMPT)
        assert pieces == ["Once", " upon"]
        assert isinstance(error, WorkerLost)
        assert error.metadata == {"tokens": "3"}
    async with serving(ScriptedRouter(error=InvalidRequest("too long", field="prompt"))) as address:
        pieces, error = await read(address, PROMPT)
        assert (pieces, isinstance(error, InvalidRequest)) == ([], True)


@both
async def test_what_nobody_has_begun_is_tried_again_and_what_has_begun_is_not(read: Read) -> None:
    patient = ScriptedRouter(*WHOLE, refusals=2)
    async with serving(patient) as address:
        assert (await read(address, PROMPT))[1] == RESULT
        assert len(patient.requests) == 3
    broken = ScriptedRouter(FIRST, error=NoEndpoint("gone"))
    async with serving(broken) as address:
        assert isinstance((await read(address, PROMPT))[1], NoEndpoint)
        assert len(broken.requests) == 1


@both
async def test_a_stream_that_ends_before_its_text_is_a_failure(read: Read) -> None:
    async with serving(ScriptedRouter(FIRST)) as address:
        pieces, error = await read(address, PROMPT)
        assert (pieces, isinstance(error, NoEndpoint)) == (["Once"], True)


@both
async def test_a_deadline_ends_a_text_that_goes_on(read: Read) -> None:
    router = ScriptedRouter(FIRST)
    router.goes_on = True
    async with serving(router) as address:
        pieces, error = await read(address, Prompt(text="prompt", timeout_s=0.3))
        assert pieces[0] == "Once"
        assert isinstance(error, Expired)


async def test_whoever_stops_reading_cancels_the_rest() -> None:
    router = ScriptedRouter(FIRST)
    router.goes_on = True
    async with serving(router) as address:

        def read_one() -> str:
            with Client(address) as client:
                for piece in client.generate("prompt"):
                    return piece
            return ""

        assert await asyncio.to_thread(read_one) == "Once"
        await until(lambda: router.left == 1)
        async with AsyncClient(address) as client:
            reading = aiter(client.generate("prompt"))
            assert await anext(reading) == "Once"
            await reading.aclose()  # type: ignore[attr-defined]
            await until(lambda: router.left == 2)
            task = asyncio.create_task(client.generate("prompt").read())
            await until(lambda: len(router.requests) == 3)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await until(lambda: router.left == 3)


async def test_read_gives_the_result_and_a_text_is_read_once() -> None:
    async with serving(ScriptedRouter(*WHOLE)) as address, AsyncClient(address) as client:
        stream = client.generate("prompt", max_new_tokens=5)
        with pytest.raises(RuntimeError, match="read on"):
            _ = stream.result
        assert await stream.read() == RESULT
        assert (stream.text, stream.tokens) == (RESULT.text, 5)
        with pytest.raises(RuntimeError, match="ask again"):
            await stream.read()

        def read() -> Generated:
            with Client(address) as other:
                return other.generate("prompt").read()

        assert await asyncio.to_thread(read) == RESULT


def test_nothing_is_asked_before_it_is_read() -> None:
    begun: list[Any] = []
    TextStream(begun.append)
    AsyncTextStream(begun.append)
    assert begun == []


def test_a_draft_that_has_not_ended_has_no_result() -> None:
    draft = Draft()
    assert (draft.text, draft.tokens) == ("", 0)
    assert [draft.accept(message) for message in (FIRST, *REST)] == ["Once", "", " upon"]
    assert (draft.text, draft.tokens) == ("Once upon", 3)
    with pytest.raises(RuntimeError):
        draft.result()
