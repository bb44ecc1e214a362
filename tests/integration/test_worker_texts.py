"""Texts at a worker over real streams: in order, against credits, cancelled at once, finished before it goes."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc.aio import EOF  # type: ignore[attr-defined]

from sluice.domain.enums import Tier
from sluice.domain.errors import Reason
from sluice.testing.echo import EchoGenerator
from sluice.transport.server import drain
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import worker_service_pb2 as worker_pb2
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.models.registry import ECHO
from tests.integration.live_worker import Worker, read, working
from tests.unit.polling import until
from tests.unit.streams import end_of
from tests.unit.worker.scribe import WRITES

LONG = " ".join(f"w{number}" for number in range(50_000))
STOP = inference_pb2.FINISH_REASON_STOP


def text(number: int, prompt: str, **fields: Any) -> worker_pb2.ExecuteRequest:
    usual = {"id": number, "variant": WRITES, "prompt": prompt, "max_new_tokens": 50_000, "top_p": 1.0}
    return worker_pb2.ExecuteRequest(generation=worker_pb2.Generation(**(usual | fields)))


def cancel(*ids: int) -> worker_pb2.ExecuteRequest:
    return worker_pb2.ExecuteRequest(cancel=worker_pb2.CancelItems(ids=ids))


class Heard:
    """What a stream has said: pieces by text, and credits."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.pieces: dict[int, list[worker_pb2.GenerationPiece]] = defaultdict(list)
        self.credits = 0
        self.messages = 0

    async def more(self) -> None:
        response = await read(self.call)
        assert response is not EOF
        self.messages += 1
        self.credits += response.credit.generations
        for piece in response.pieces:
            self.pieces[piece.id].append(piece)

    async def begun(self, number: int, tokens: int = 1) -> None:
        while not self.pieces[number] or self.pieces[number][-1].tokens < tokens:
            await self.more()

    async def last(self, number: int) -> worker_pb2.GenerationPiece:
        while not self.pieces[number] or not self._is_over(number):
            await self.more()
        return self.pieces[number][-1]

    def _is_over(self, number: int) -> bool:
        last = self.pieces[number][-1]
        return bool(last.finish_reason or last.HasField("status"))

    def text(self, number: int) -> str:
        return "".join(piece.text for piece in self.pieces[number])


@asynccontextmanager
async def echoing(**options: Any) -> AsyncIterator[tuple[Worker, EchoGenerator]]:
    """A worker that writes with an echo of these options."""
    made: list[EchoGenerator] = []

    def load(spec: ModelSpec) -> EchoGenerator:
        made.append(EchoGenerator(spec, **options))
        return made[-1]

    async with working(load=load) as running:
        await running.bench.catalog.load(model="m", tier=Tier.FULL, checkpoint=ECHO)
        try:
            yield running, made[0]
        finally:
            await running.bench.catalog.close()


async def opened(running: Worker) -> Heard:
    return Heard(await running.opened())


async def test_texts_are_written_in_order_and_say_why_they_end() -> None:
    async with echoing() as (running, _):
        call = running.stub.Execute()
        first = await read(call)
        assert first.credit.generations == 64
        assert [(one.id, one.cache_tokens > 0, one.max_generations > 0) for one in first.welcome.variants] == [
            (WRITES, True, True)
        ]
        heard = Heard(call)
        await call.write(text(1, "where is my parcel"))
        await call.write(text(2, "where is my parcel", max_new_tokens=2))
        await call.write(text(3, "where is my parcel", stop=["my"]))
        ends = {number: await heard.last(number) for number in (1, 2, 3)}
        assert {number: heard.text(number) for number in ends} == {
            1: "where is my parcel",
            2: "where is",
            3: "where is ",
        }
        assert [(end.tokens, end.prompt_tokens, end.finish_reason) for end in ends.values()] == [
            (4, 4, STOP),
            (2, 4, inference_pb2.FINISH_REASON_LENGTH),
            (3, 4, STOP),
        ]
        assert heard.credits == 3
        for pieces in heard.pieces.values():
            assert [piece.tokens for piece in pieces] == sorted(piece.tokens for piece in pieces)
        await call.done_writing()
        assert await end_of(call) is grpc.StatusCode.OK


async def test_memory_that_is_full_lets_texts_wait_and_one_that_never_fits_is_told() -> None:
    async with echoing(step_s=0.001, memory_tokens=40) as (running, generator):
        heard = await opened(running)
        for number in range(1, 9):
            await heard.call.write(text(number, "a b c d e f g h i j", max_new_tokens=10))
        await heard.call.write(text(9, "a " * 41))
        assert [(await heard.last(number)).finish_reason for number in range(1, 9)] == [STOP] * 8
        refused = await heard.last(9)
        assert (refused.status.reason, refused.status.field) == (Reason.INVALID_ARGUMENT, "prompt")
        assert generator.held_tokens == 0


async def test_cancelling_frees_the_memory_for_who_waits() -> None:
    async with echoing(step_s=0.001, memory_tokens=65_536) as (running, generator):
        heard = await opened(running)
        await heard.call.write(text(1, LONG))
        await heard.call.write(text(2, "who waits", max_new_tokens=2))
        await heard.begun(1)
        assert not heard.pieces[2]
        await heard.call.write(cancel(1, 99))
        assert (await heard.last(1)).status.reason == Reason.CANCELLED
        assert (await heard.last(2)).finish_reason == STOP
        assert heard.pieces[1][-1].tokens < 50_000
        assert (generator.open_texts, running.servicer.open_items()) == (0, 0)


async def test_a_thousand_cancelled_texts_leave_nothing_open() -> None:
    async with echoing(step_s=0.001) as (running, generator):
        heard = await opened(running)
        for number in range(1, 1_001):
            await heard.call.write(text(number, "a b c d e f g h " * 20))
            if number % 50 == 0:
                await heard.begun(number, tokens=0)
            await heard.call.write(cancel(number))
        for number in range(1, 1_001):
            end = await heard.last(number)
            assert end.finish_reason == STOP or end.status.reason == Reason.CANCELLED
        assert heard.credits == 1_000
        assert (generator.open_texts, generator.held_tokens, running.servicer.open_items()) == (0, 0, 0)


async def test_a_lost_router_takes_its_texts_along() -> None:
    async with echoing(step_s=0.001) as (running, generator):
        heard, other = await opened(running), await opened(running)
        for number in range(1, 6):
            await heard.call.write(text(number, LONG))
        await other.call.write(text(1, "a b c d e f g h " * 50))
        await heard.begun(5)
        heard.call.cancel()
        assert (await other.last(1)).finish_reason == STOP
        await until(lambda: generator.open_texts == 0)
        assert running.servicer.open_items() == 0


async def test_a_router_that_sends_more_than_it_was_granted_is_cut_off() -> None:
    async with echoing(step_s=0.001, max_generations=1) as (running, generator):
        heard = await opened(running)
        for number in range(1, 67):
            await heard.call.write(text(number, LONG))
        assert await end_of(heard.call) is grpc.StatusCode.RESOURCE_EXHAUSTED
        await until(lambda: generator.open_texts == 0)


async def test_a_draining_worker_finishes_what_it_writes_and_takes_nothing_new() -> None:
    async with echoing(step_s=0.001) as (running, _):
        heard = await opened(running)
        await heard.call.write(text(1, "a b c d e f g h " * 20))
        await heard.begun(1)
        draining = asyncio.create_task(drain(running.server, running.servicer.drain, grace_s=10))
        await until(lambda: running.servicer.draining)
        await heard.call.write(text(2, "a b"))
        assert (await heard.last(2)).status.reason == Reason.SHUTTING_DOWN
        assert (await heard.last(1)).finish_reason == STOP
        assert heard.credits == 1
        await draining


async def test_a_reader_that_was_slow_finds_a_text_in_fewer_messages_and_misses_nothing() -> None:
    words = "a b c d e f g h " * 500
    async with echoing() as (running, generator):
        heard = await opened(running)
        await heard.call.write(text(1, words))
        await until(lambda: generator.busy_s > 0 and generator.open_texts == 0)
        assert (await heard.last(1)).tokens == 4_000
        assert heard.text(1) == words.strip()
        assert heard.messages < 4_000
