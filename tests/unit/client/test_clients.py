"""The two clients against a router that the test writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice import AsyncClient, Client, Query
from sluice.client.answer import Answer
from sluice.client.query import checked_timeout, to_proto
from sluice.domain.enums import QueryClass, Tier
from sluice.domain.errors import InvalidRequest, NoEndpoint, Saturated, SluiceError
from sluice.domain.status import abort
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import inference_service_pb2_grpc as inference_grpc
from tests.unit.client.serving import serving
from tests.unit.polling import until


class ScriptedRouter(inference_grpc.InferenceServiceServicer):
    """Echoes a text as its label, all but "first" only once `gate` is open. What "fail" fails with the test says."""

    def __init__(self) -> None:
        self.error: SluiceError = Saturated("full", retry_after_s=0.5)
        self.stream_answers = 10**9
        self.stream_error: SluiceError | None = None
        self.stream_pause_s = 0.0
        self.open = self.cancelled = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def Infer(self, request: inference_pb2.InferRequest, context: Any) -> inference_pb2.InferResponse:
        self.open += 1
        try:
            if request.text != "first":
                await self.gate.wait()
            if request.text == "fail":
                await abort(context, self.error)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.open -= 1
        return inference_pb2.InferResponse(classification=inference_pb2.Classification(label=request.text))

    async def InferStream(
        self, request_iterator: AsyncIterator[inference_pb2.InferStreamRequest], context: Any
    ) -> AsyncIterator[inference_pb2.InferStreamResponse]:
        answers = 0
        await asyncio.sleep(self.stream_pause_s)
        async for message in request_iterator:
            for item in message.items:
                if answers == self.stream_answers:
                    if self.stream_error is not None:
                        await abort(context, self.stream_error)
                    return
                answers += 1
                response = inference_pb2.InferStreamResponse()
                response.outcomes.add(id=item.id).response.classification.label = item.request.text
                yield response


def label(outcome: Answer | SluiceError) -> str:
    return outcome.label if isinstance(outcome, Answer) else type(outcome).__name__


async def collected(
    outcomes: AsyncIterator[tuple[int, Answer | SluiceError]],
) -> list[tuple[int, Answer | SluiceError]]:
    return [one async for one in outcomes]


def outcomes_of(address: str, texts: Iterable[str | Query], **options: Any) -> list[Answer | SluiceError]:
    with Client(address) as client:
        return list(client.infer_many(texts, **options))


async def many(address: str, texts: list[str], **options: Any) -> list[str]:
    return [label(outcome) for outcome in await asyncio.to_thread(outcomes_of, address, texts, **options)]


def test_a_query_says_only_what_the_caller_said() -> None:
    assert to_proto(Query(text="t")) == inference_pb2.InferRequest(text="t")
    message = to_proto(
        Query(text="t", priority=0.0, query_class=QueryClass.REAL_TIME, minimum_tier=Tier.FULL, top_k=3, truncate=True)
    )
    assert message.HasField("priority")
    assert (message.query_class, message.minimum_tier, message.top_k, message.truncate) == (3, 3, 3, True)


@pytest.mark.parametrize("timeout_s", [None, 0, -1.0, float("nan"), float("inf")])
def test_a_client_that_could_wait_for_ever_is_not_made(timeout_s: float | None) -> None:
    with pytest.raises(ValueError, match="timeout_s"):
        checked_timeout(timeout_s)


async def test_a_failure_is_raised_as_what_the_router_meant() -> None:
    router = ScriptedRouter()
    async with serving(router) as address, AsyncClient(address) as client:
        with pytest.raises(Saturated) as caught:
            await client.infer("fail")
        assert caught.value.retry_after_s == 0.5
        router.error = InvalidRequest("too long", field="text")
        with pytest.raises(InvalidRequest) as other:
            await client.infer("fail")
        assert other.value.field == "text"


async def test_a_router_that_cannot_be_reached_is_no_endpoint() -> None:
    async with serving(ScriptedRouter()) as address:
        pass
    async with AsyncClient(address, timeout_s=5) as client:
        with pytest.raises(NoEndpoint, match="cannot be reached"):
            await client.infer("text")


async def test_many_texts_are_asked_a_bounded_number_at_a_time_and_each_ends_once_in_its_place() -> None:
    router = ScriptedRouter()
    texts = [f"text {number}" if number % 10 else "fail" for number in range(60)]
    async with serving(router) as address, AsyncClient(address) as client:
        router.gate.clear()
        asking = asyncio.create_task(collected(client.infer_many(texts, max_open=5)))
        await until(lambda: router.open == 5)
        await asyncio.sleep(0.05)
        assert router.open == 5
        router.gate.set()
        outcomes = await asking
    assert sorted(place for place, _ in outcomes) == list(range(60))
    assert all(label(outcome) == ("Saturated" if texts[at] == "fail" else texts[at]) for at, outcome in outcomes)


async def test_a_caller_who_stops_listening_cancels_what_is_open() -> None:
    router = ScriptedRouter()
    async with serving(router) as address, AsyncClient(address, timeout_s=60) as client:
        router.gate.clear()
        outcomes = client.infer_many(["first", *["second"] * 4], max_open=5)
        assert label((await anext(outcomes))[1]) == "first"
        await until(lambda: router.open == 4)
        await outcomes.aclose()  # type: ignore[attr-defined]
        await until(lambda: router.open == 0)
    assert router.cancelled == 4


@pytest.mark.parametrize("error", [NoEndpoint("gone"), None], ids=["breaks", "ends early"])
async def test_a_stream_that_is_over_before_its_texts_ends_each_of_them_once(error: SluiceError | None) -> None:
    router = ScriptedRouter()
    router.stream_answers, router.stream_error = 3, error
    texts = [f"text {number}" for number in range(20)]
    async with serving(router) as address:
        assert await many(address, texts, max_open=8) == [*texts[:3], *["NoEndpoint"] * 17]


@pytest.mark.parametrize("max_open", [0, -1])
async def test_nobody_can_ask_many_texts_none_at_a_time(max_open: int) -> None:
    async with serving(ScriptedRouter()) as address, AsyncClient(address) as client:
        with pytest.raises(ValueError, match="max_open"):
            _ = [one async for one in client.infer_many(["text"], max_open=max_open)]


async def test_a_stuck_router_is_not_waited_for_beyond_the_deadlines() -> None:
    router = ScriptedRouter()
    router.stream_pause_s = 3600
    async with serving(router) as address:
        assert await many(address, ["a", "b"], timeout_s=0.05) == ["Expired", "Expired"]


UNSENDABLE = [
    Query(text="broken \ud83d emoji"),
    Query(text="text", top_k=-1),
    Query(text="text", top_k=2**32),
    Query(text="text", conversation_id="\udfff"),
    Query(text=5),  # type: ignore[arg-type]
]


@given(texts=st.lists(st.sampled_from(["a", "b", *UNSENDABLE]), max_size=12), max_open=st.integers(1, 5))
@settings(max_examples=15, deadline=None)
def test_every_text_has_its_own_outcome_in_its_place_whether_it_can_be_sent_or_not(
    texts: list[str | Query], max_open: int
) -> None:
    async def ask() -> tuple[list[Answer | SluiceError], list[tuple[int, Answer | SluiceError]]]:
        async with serving(ScriptedRouter()) as address, AsyncClient(address) as client:
            in_order = await asyncio.to_thread(lambda: outcomes_of(address, texts, max_open=max_open))
            return in_order, sorted(await collected(client.infer_many(texts, max_open=max_open)), key=itemgetter(0))

    in_order, by_place = asyncio.run(ask())
    assert [place for place, _ in by_place] == list(range(len(texts)))
    for outcomes in (in_order, [outcome for _, outcome in by_place]):
        for text, outcome in zip(texts, outcomes, strict=True):
            if isinstance(text, str):
                assert label(outcome) == text
            else:
                assert isinstance(outcome, InvalidRequest)
                assert outcome.field in ("text", "top_k", "conversation_id")


async def test_what_the_texts_themselves_raise_is_raised_after_the_outcomes_of_those_before() -> None:
    def texts() -> Iterator[str]:
        yield from ("a", "b", "c")
        raise OSError("the file is gone")

    outcomes: list[str] = []

    def ask(address: str) -> None:
        with Client(address) as client:
            outcomes.extend(label(outcome) for outcome in client.infer_many(texts()))

    async with serving(ScriptedRouter()) as address:
        with pytest.raises(OSError, match="the file is gone"):
            await asyncio.to_thread(ask, address)
    assert outcomes == ["a", "b", "c"]


async def test_an_option_that_there_is_not_is_the_callers_mistake() -> None:
    async with serving(ScriptedRouter()) as address:
        with pytest.raises(TypeError, match="prioritty"):
            await many(address, ["text"], prioritty=1)
