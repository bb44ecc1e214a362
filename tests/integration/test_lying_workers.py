"""Workers whose cards, credits, results and pieces are wrong: they are cut off by the field's name, and nobody else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from google.protobuf.duration_pb2 import Duration

from services.router.requests.request import Request
from services.router.router import Router
from sluice.domain.enums import Task, Tier
from sluice.domain.errors import SluiceError
from sluice.domain.variant import Variant
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import worker_service_pb2 as worker_pb2
from tests.integration.fake_scribe import FakeScribe
from tests.integration.fake_scribe import card as scribe_card
from tests.integration.fake_worker import FakeWorker, answer_well, answered, card, roster_of, router_to, serving
from tests.integration.live_router import Face, face_of
from tests.integration.lying_worker import LyingWorker, Said, welcome
from tests.unit.polling import until

CALLS = 60
Replies = Callable[[worker_pb2.ExecuteRequest], list[Said]]
NAN = float("nan")
EMBEDDER = Variant(id="vector/full-fp32", model="vector", tier=Tier.FULL, task=Task.FEATURE_EXTRACTION)
CUT_OFF = "a worker's stream is ended, because it breaks the contract"


@asynccontextmanager
async def mesh(*liars: LyingWorker) -> AsyncIterator[Face]:
    """A router to a good worker, which serves tier light, and to liars."""
    async with AsyncExitStack() as stack:
        good = await stack.enter_async_context(serving(FakeWorker(answer_well)))
        router = await stack.enter_async_context(router_to(good))
        face = await stack.enter_async_context(face_of(router))
        lies = [await stack.enter_async_context(liar.serving()) for liar in liars]
        router.pool.set_roster(roster_of(*lies))
        await until(lambda: router.pool.all_tried)
        yield face


async def all_are_answered(face: Face, **fields: object) -> None:
    """Sixty callers of every query class at a time, and each has its own answer."""

    async def one(number: int) -> bool:
        request = inference_pb2.InferRequest(text=f"text {number}", query_class=number % 4, **fields)  # type: ignore[arg-type]
        return (await face.stub.Infer(request, timeout=10)).classification.label == request.text

    assert sum(await asyncio.gather(*map(one, range(CALLS)))) == CALLS


def cut_off(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Why workers were cut off, so far."""
    assert not [record for record in caplog.records if record.exc_info]
    return [record.why for record in caplog.records if record.msg == CUT_OFF]  # type: ignore[attr-defined]


def up(router: Router) -> int:
    """Workers that are connected."""
    return sum(link.up for link in router.pool.links())


def bad_card(change: Callable[[worker_pb2.ExecuteResponse], object]) -> worker_pb2.ExecuteResponse:
    first = welcome(card(Tier.FULL))
    change(first)
    return first


def first_variant(**fields: object) -> Callable[[worker_pb2.ExecuteResponse], object]:
    def change(first: worker_pb2.ExecuteResponse) -> None:
        for name, value in fields.items():
            setattr(first.welcome.variants[0], name, value)

    return change


CARDS: dict[str, Said] = {
    "welcome.variants[0].tier": bad_card(first_variant(tier=0)),
    "welcome.variants[0].task": bad_card(first_variant(task=9)),
    "welcome.variants[0].max_batch_size": bad_card(first_variant(max_batch_size=0)),
    "welcome.variants[0].quality": bad_card(first_variant(quality=NAN)),
    "welcome.variants[0].id": bad_card(first_variant(id="echo/light-fp32")),
    "welcome.variants[1].id": bad_card(lambda one: one.welcome.variants.append(one.welcome.variants[0])),
    "welcome.variants[0].profile[0].time": bad_card(
        lambda one: one.welcome.variants[0].profile.add(items=1, tokens=1, time=Duration(seconds=2**40))
    ),
    "welcome.worker": bad_card(lambda one: setattr(one.welcome, "worker", "w" * 10_000)),
    "welcome": worker_pb2.ExecuteResponse(credit=worker_pb2.Credit(batches=1)),
    "credit.batches": bad_card(lambda one: setattr(one.credit, "batches", 2**32 - 1)),
    "credit.generations": bad_card(lambda one: setattr(one.credit, "generations", 2**32 - 1)),
    "credit.max_items": bad_card(lambda one: setattr(one.credit, "max_items", 2**32 - 1)),
    "message": b"\x0a\x05\x0a",
    "result.batch_id": bad_card(lambda one: setattr(one.result, "batch_id", 7)),
    "pieces[0].id": bad_card(lambda one: one.pieces.add(id=1, text="unasked")),
}


async def test_bad_cards_are_refused_by_name_and_cost_no_caller_of_a_good_worker_anything(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        async with mesh(*map(LyingWorker, CARDS.values())) as face:
            await all_are_answered(face)
            await until(lambda: len(cut_off(caplog)) >= len(CARDS))
            assert {why.partition(": ")[0] for why in cut_off(caplog)} == CARDS.keys()
            await all_are_answered(face, minimum_tier=2)
            assert set(face.router.models()) == {"echo"}


async def test_a_flood_of_cards_is_cut_off() -> None:
    liar = LyingWorker(*[welcome(card(tier)) for _ in range(200) for tier in (Tier.LIGHT, Tier.FULL)])
    async with mesh(liar) as face:
        await until(
            lambda: liar.streams and not any(link.worker == "liar" and link.up for link in face.router.pool.links())
        )
        await all_are_answered(face)


def spoilt(change: Callable[[worker_pb2.ItemResult], object]) -> Replies:
    """Answers a batch, and spoils the answer to its last item."""

    def replies(request: worker_pb2.ExecuteRequest) -> list[Said]:
        response = answered(request.batch)
        change(response.result.results[-1])
        return [response]

    return replies


def spoilt_batch(
    change: Callable[[worker_pb2.BatchResult], object],
) -> Replies:
    def replies(request: worker_pb2.ExecuteRequest) -> list[Said]:
        response = answered(request.batch)
        change(response.result)
        return [response]

    return replies


def failed(**status: object) -> Replies:
    return spoilt(lambda item: item.status.CopyFrom(inference_pb2.ItemStatus(**status)))  # type: ignore[arg-type]


RESULTS = {
    "classification.score": spoilt(lambda item: setattr(item.classification, "score", NAN)),
    "classification.score ": spoilt(lambda item: setattr(item.classification, "score", 1e300)),
    "classification.label": spoilt(lambda item: setattr(item.classification, "label", "x" * 3_000_000)),
    "classification.scores": spoilt(lambda item: item.classification.scores.add(label="unasked", score=0.5)),
    "embedding": spoilt(lambda item: item.embedding.values.append(0.5)),
    "status.code": failed(code=-7, reason="worker-failed"),
    "status.reason": failed(code=13, reason="x" * 100_000),
    "status.field": failed(code=3, reason="invalid-argument", field="a\nb"),
    "status.retry_after": failed(code=8, reason="rejected-saturated", retry_after=Duration(seconds=10**9)),
    "status.metadata": failed(code=8, reason="rejected-saturated", metadata={"Grpc Status\n": "0"}),
    "status.metadata ": failed(code=8, reason="rejected-saturated", metadata={"level": "a\r\nb"}),
    "status.metadata  ": failed(code=8, reason="rejected-saturated", metadata={"details-bin": "x"}),
    "result.compute": spoilt_batch(lambda result: result.compute.CopyFrom(Duration(seconds=-1))),
    "result.wait": spoilt_batch(lambda result: result.wait.CopyFrom(Duration(seconds=10**11))),
    "result.results": spoilt_batch(lambda result: result.results.append(result.results[0])),
    "result.results ": spoilt_batch(lambda result: result.results.pop()),
    "result.batch_id": spoilt_batch(lambda result: setattr(result, "batch_id", 2**64 - 1)),
}


@pytest.mark.parametrize("field", RESULTS)
async def test_bad_results_cut_their_worker_off_by_name_and_all_callers_are_answered(
    field: str, caplog: pytest.LogCaptureFixture
) -> None:
    liar = LyingWorker(welcome(), replies=RESULTS[field])
    with caplog.at_level(logging.INFO):
        async with mesh(liar) as face:
            await until(
                lambda: len(face.router.view.variants) == 1 and sum(one.up for one in face.router.pool.links()) == 2
            )
            await all_are_answered(face)
            assert liar.requests
            await until(lambda: cut_off(caplog))
            assert field.strip() in cut_off(caplog)[0].partition(": ")[0]
            await all_are_answered(face)


@pytest.mark.parametrize(
    "values", [[], [0.5] * 70_000, [0.5, NAN], [float("inf")]], ids=["none", "70,000", "no number", "infinite"]
)
async def test_an_embedding_that_is_none_never_reaches_a_caller(
    values: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    liar = LyingWorker(welcome(EMBEDDER), replies=spoilt(lambda item: item.embedding.values.extend(values)))
    with caplog.at_level(logging.INFO):
        async with mesh(liar) as face:
            await until(lambda: "vector" in face.router.models())
            await asyncio.gather(all_are_answered(face, model="echo"), fails(face.router, "vector"))
            assert "embedding" in cut_off(caplog)[0]


async def fails(router: Router, model: str) -> None:
    with pytest.raises(SluiceError):
        await router.infer(Request(model=model, text="text", deadline=asyncio.get_running_loop().time() + 2))


async def test_a_compute_time_beyond_what_was_waited_counts_as_what_was_waited() -> None:
    liar = LyingWorker(
        welcome(card(Tier.FULL)), replies=spoilt_batch(lambda result: result.compute.CopyFrom(Duration(seconds=3_000)))
    )
    async with mesh(liar) as face:
        await until(lambda: len(face.router.view.variants) == 2)
        request = inference_pb2.InferRequest(text="slow?", minimum_tier=3)  # type: ignore[arg-type]
        answer = await face.stub.Infer(request, timeout=10)
        assert answer.timing.compute.seconds < 10
        await all_are_answered(face)


PIECES: dict[str, Callable[[int], list[worker_pb2.GenerationPiece]]] = {
    "tokens": lambda number: [worker_pb2.GenerationPiece(id=number, text="x", tokens=2**32 - 1)],
    "text": lambda number: [worker_pb2.GenerationPiece(id=number, text="x" * 3_000_000, tokens=1)],
    "tokens ": lambda number: [worker_pb2.GenerationPiece(id=number, tokens=tokens) for tokens in (5, 4)],
    "finish_reason": lambda number: [worker_pb2.GenerationPiece(id=number, finish_reason=-1)],  # type: ignore[arg-type]
    "prompt_tokens": lambda number: [worker_pb2.GenerationPiece(id=number, prompt_tokens=2**32 - 1)],
    "status.metadata": lambda number: [
        worker_pb2.GenerationPiece(id=number, status=inference_pb2.ItemStatus(code=3, metadata={"A": "b"}))
    ],
    "id": lambda number: [
        worker_pb2.GenerationPiece(id=number, text="end", tokens=1, finish_reason=1),  # type: ignore[arg-type]
        worker_pb2.GenerationPiece(id=number, text="more", tokens=2),
    ],
}


@pytest.mark.parametrize("field", PIECES)
async def test_bad_pieces_cut_their_worker_off_by_name_and_other_generations_go_on(
    field: str, caplog: pytest.LogCaptureFixture
) -> None:
    def replies(request: worker_pb2.ExecuteRequest) -> list[Said]:
        return [worker_pb2.ExecuteResponse(pieces=PIECES[field](request.generation.id))]

    lie = Variant(id="lies/full-fp32", model="lies", tier=Tier.FULL, task=Task.TEXT_GENERATION)
    liar, scribe = LyingWorker(welcome(lie, generations=4), replies=replies), FakeScribe(scribe_card())
    with caplog.at_level(logging.INFO):
        async with serving(scribe) as address, mesh(liar) as face:
            links = [link.address for link in face.router.pool.links() if link.worker == "liar"]
            face.router.pool.set_roster(roster_of(*links, address))
            await until(lambda: {"lies", "chat"} <= set(face.router.models()))
            good = face.stub.Generate(inference_pb2.GenerateRequest(model="chat", prompt="good"), timeout=10)
            number = await scribe.text("good")
            scribe.write(number, "a", tokens=1)
            assert (await good.read()).text == "a"
            bad = face.stub.Generate(
                inference_pb2.GenerateRequest(model="lies", prompt="bad", max_new_tokens=8), timeout=3
            )
            await until(lambda: cut_off(caplog))
            assert f".{field.strip()}: " in cut_off(caplog)[0]
            scribe.write(number, "b", tokens=2, finish=1)
            assert (await good.read()).text == "b"
            await all_are_answered(face, model="echo")
            bad.cancel()


async def test_a_worker_that_lied_is_dialled_again_slowly_and_serves_once_it_tells_the_truth() -> None:
    liar = LyingWorker(bad_card(first_variant(tier=0)))
    async with mesh(liar) as face:
        await all_are_answered(face)
        liar.first = (welcome(card(Tier.FULL)),)
        await until(lambda: len(face.router.view.variants) == 2)
        assert liar.streams == 2
        answer = await face.stub.Infer(inference_pb2.InferRequest(text="x", minimum_tier=3), timeout=5)  # type: ignore[arg-type]
        assert answer.worker == "liar"


async def test_models_that_only_a_liar_named_are_gone_with_it() -> None:
    def replies(request: worker_pb2.ExecuteRequest) -> list[Said]:
        return [worker_pb2.ExecuteResponse(credit=worker_pb2.Credit(batches=5_000))]

    lie = Variant(id="lies/full-fp32", model="lies", tier=Tier.FULL, task=Task.TEXT_CLASSIFICATION)
    async with mesh(LyingWorker(welcome(lie), replies=replies)) as face:
        await until(lambda: {"lies", "echo"} <= face.router.view.names)
        bad = face.stub.Infer(inference_pb2.InferRequest(text="x", model="lies"), timeout=1)
        await until(lambda: face.router.view.names == {"echo"})
        # The default model is the only one again.
        answer = await face.stub.Infer(inference_pb2.InferRequest(text="x"), timeout=5)
        assert answer.classification.label == "x"
        bad.cancel()
