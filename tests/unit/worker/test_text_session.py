"""One router's texts at a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sluice.domain.enums import Tier
from sluice.domain.errors import Cancelled, NoEndpoint, Reason, Saturated
from sluice.domain.status import from_item_status
from sluice.runtime.config import TelemetryConfig
from sluice.runtime.tracing import Tracing
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import worker_service_pb2 as worker_pb2
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.execution.generator import Chunk, FinishReason
from sluice.worker.models.loaders import with_profiling
from sluice.worker.models.registry import ECHO
from sluice.worker.models.swap_controller import SwapController
from sluice.worker.models.swap_policy import FULL_SERVICE
from sluice.worker.resources.aggregate import ResourceAggregator
from sluice.worker.server.generation_stream import GenerationSession
from sluice.worker.server.reporter import HealthReporter
from sluice.worker.server.tracing import WorkerSpans
from tests.unit.polling import until
from tests.unit.worker.bench import Bench, bench
from tests.unit.worker.scribe import WRITES, ScriptedGenerator, scribe, word

STOP = inference_pb2.FINISH_REASON_STOP


class Router:
    """A session, and what it was sent: messages of pieces with the credits that came with them."""

    def __init__(self, made: Bench, credits_: int = 2) -> None:
        self.sent: list[tuple[list[worker_pb2.GenerationPiece], int]] = []
        self.failures = 0
        tracing = Tracing(service="test", config=TelemetryConfig())
        self.session = GenerationSession(
            made.catalog,
            credits_=credits_,
            send=self._send,
            spans=WorkerSpans(tracing, worker="w1"),
            failed=self._count_failure,
        )

    def _count_failure(self) -> None:
        self.failures += 1

    def _send(self, pieces: Sequence[worker_pb2.GenerationPiece], credits_: int) -> None:
        self.sent.append((list(pieces), credits_))

    def take(self, number: int, *, draining: bool = False, **fields: Any) -> None:
        fields = {
            "id": number,
            "variant": WRITES,
            "prompt": f"text {number}",
            "max_new_tokens": 9,
            "top_p": 1.0,
        } | fields
        self.session.take(worker_pb2.Generation(**fields), draining=draining)

    def pieces(self, number: int) -> list[worker_pb2.GenerationPiece]:
        return [piece for pieces, _ in self.sent for piece in pieces if piece.id == number]

    @property
    def credits_back(self) -> int:
        return sum(credits_ for _, credits_ in self.sent)


@asynccontextmanager
async def writing(credits_: int = 2) -> AsyncIterator[tuple[Router, ScriptedGenerator, Bench]]:
    async with scribe() as (made, generator):
        yield Router(made, credits_), generator, made


async def turn() -> None:
    """Let the loop do what a generator's thread has told it."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_all_that_a_step_writes_is_sent_together_and_first_pieces_give_credits_back() -> None:
    async with writing() as (router, generator, made):
        router.take(1)
        router.take(2)
        one, two = generator.key_of("text 1"), generator.key_of("text 2")
        assert router.session.open_texts == 2
        generator.say(word(one, ""), word(two, "x"))
        await turn()
        assert [(piece.id, piece.text) for piece in router.sent[0][0]] == [(1, ""), (2, "x")]
        assert router.sent[0][1] == 2
        generator.say(word(one, "a", tokens=1), word(two, "y", tokens=2, finish=FinishReason.STOP))
        await turn()
        assert router.sent[1][1] == 0
        last = router.pieces(2)[-1]
        assert (last.tokens, last.prompt_tokens, last.finish_reason) == (2, 3, STOP)
        assert not last.HasField("status")
        generator.say(word(one, "b", tokens=2, finish=FinishReason.LENGTH))
        await turn()
        assert router.session.open_texts == 0
        assert router.session.finished.is_set()
        assert made.catalog.writers.texts == 2


async def test_no_more_texts_wait_for_memory_than_were_granted_while_any_number_is_written() -> None:
    async with writing(credits_=1) as (router, generator, _):
        for number in range(1, 6):
            router.take(number)
            with pytest.raises(Saturated):
                router.take(99)
            generator.say(word(generator.key_of(f"text {number}"), "a"))
            await turn()
        assert router.session.open_texts == 5
        assert router.credits_back == 5
        with pytest.raises(Saturated):
            router.take(3)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"temperature": -0.5}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_p": float("nan")}, "top_p"),
        ({"stop": ["x", ""]}, "stop"),
    ],
)
async def test_numbers_that_make_no_sense_end_a_text_at_once(fields: dict[str, Any], field: str) -> None:
    async with writing() as (router, generator, _):
        router.take(1, **fields)
        (only,) = router.pieces(1)
        error = from_item_status(only.status)
        assert (error.reason, error.field) == (Reason.INVALID_ARGUMENT, field)
        assert router.credits_back == 1
        assert generator.prompts == {}


async def test_what_nobody_writes_here_is_given_back() -> None:
    async with writing() as (router, _, _):
        router.take(1, variant="nobody/full-fp32")
        router.take(2, draining=True)
        assert [from_item_status(router.pieces(number)[0].status).reason for number in (1, 2)] == [
            Reason.NO_ENDPOINTS,
            Reason.SHUTTING_DOWN,
        ]
        assert router.credits_back == 2
        assert router.session.finished.is_set()


async def test_batches_and_texts_go_only_where_they_can_be_worked_on() -> None:
    async with scribe() as (made, _), bench() as other:
        with pytest.raises(NoEndpoint):
            made.catalog.backend(WRITES)
        with pytest.raises(NoEndpoint):
            other.catalog.writer("m/light-fp32")


async def test_cancelling_ends_a_text_with_what_was_written() -> None:
    async with writing() as (router, generator, _):
        router.take(1)
        router.take(2)
        generator.say(word(generator.key_of("text 1"), "a"))
        router.session.cancel([1, 77])
        await turn()
        assert from_item_status(router.pieces(1)[-1].status).reason is Reason.CANCELLED
        assert router.session.open_texts == 1
        router.session.cancel([1])
        assert len(generator.cancelled) == 1


async def test_a_text_ends_at_its_deadline() -> None:
    async with writing() as (router, generator, _):
        message = worker_pb2.Generation()
        message.timeout.FromMilliseconds(20)
        router.take(1, timeout=message.timeout)
        await until(lambda: router.pieces(1))
        assert from_item_status(router.pieces(1)[-1].status).reason is Reason.EXPIRED
        assert generator.prompts == {}
        assert router.credits_back == 1


async def test_when_the_router_goes_its_texts_are_cancelled_and_nothing_more_is_sent() -> None:
    async with writing() as (router, generator, made):
        router.take(1)
        router.take(2)
        other = Router(made)
        other.take(1, prompt="other")
        router.session.abandon()
        assert router.session.open_texts == 0
        assert router.session.finished.is_set()
        await turn()
        assert router.sent == []
        assert [prompt.text for prompt in generator.prompts.values()] == ["other"]
        generator.say(word(generator.key_of("other"), "a", finish=FinishReason.STOP))
        await turn()
        assert [piece.text for piece in other.pieces(1)] == ["a"]


async def test_a_generator_that_cannot_begin_fails_that_text_alone() -> None:
    async with writing() as (router, generator, _):
        generator.fails_to_begin = True
        router.take(1)
        generator.fails_to_begin = False
        router.take(2)
        await turn()
        assert from_item_status(router.pieces(1)[-1].status).reason is Reason.WORKER_FAILED
        assert router.session.open_texts == 1
        assert router.credits_back == 1


async def test_unloading_lets_texts_finish_and_takes_no_new_ones() -> None:
    async with writing() as (router, generator, made):
        router.take(1)
        unloading = asyncio.create_task(made.catalog.unload(WRITES))
        await turn()
        router.take(2)
        assert from_item_status(router.pieces(2)[-1].status).reason is Reason.NO_ENDPOINTS
        assert not unloading.done()
        assert generator.closed == 0
        generator.say(word(generator.key_of("text 1"), "a", finish=FinishReason.STOP))
        await asyncio.wait_for(unloading, 10)
        assert generator.closed == 1
        assert made.catalog.variants() == ()
        assert router.pieces(1)[-1].finish_reason == STOP
        assert made.catalog.writers.texts == 1


async def test_an_unknown_key_is_nobody_s_text() -> None:
    async with writing() as (router, generator, _):
        generator.say(word(12345, "a"), Chunk(key=7, error=Cancelled("x")))
        await turn()
        assert router.sent == []


async def test_a_report_counts_texts_as_items_when_they_end() -> None:
    async with writing() as (router, generator, made):
        now = [0.0]
        swapper = SwapController(
            made.catalog, wish=lambda: FULL_SERVICE, memory=lambda: None, ceiling=0.9, light_budget=0.1
        )
        monitor = HealthReporter(
            device=made.device,
            catalog=made.catalog,
            resources=ResourceAggregator(()),
            swapper=swapper,
            inflight=lambda: router.session.open_texts,
            draining=lambda: False,
            clock=lambda: now[0],
        )
        router.take(1)
        router.take(2)
        generator.say(word(generator.key_of("text 1"), "a", finish=FinishReason.STOP))
        await turn()
        now[0] = 2.0
        report = monitor.report()
        assert (report.inflight, report.requests_per_second) == (1, 0.5)


def test_a_generator_is_not_measured_in_batches() -> None:
    spec = ModelSpec(model="m", tier=Tier.FULL, checkpoint=Path(ECHO))
    made = ScriptedGenerator(spec)
    assert with_profiling(lambda _: made, seconds=1.0, cache="nowhere")(spec) is made
