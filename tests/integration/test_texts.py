"""A text's life in the router, against workers whose every piece the test writes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.router.api.open_inference_servicer import OpenInferenceServicer
from services.router.app import report
from services.router.observability.tracing import RequestSpans
from services.router.requests.generation import PendingGeneration, TokenChunk
from services.router.requests.request import GenerationResult, Request
from services.router.requests.sampling_params import SamplingParams
from services.router.router import Router
from sluice.control.directive import ActiveDirective, Directive
from sluice.domain.enums import Level, Tier
from sluice.domain.errors import (
    Cancelled,
    Expired,
    InvalidRequest,
    NoEndpoint,
    Reason,
    ShuttingDown,
    SluiceError,
    UnknownModel,
    WorkerFailed,
    WorkerLost,
)
from sluice.open_inference import grpc_service_pb2 as oip_pb2
from sluice.runtime.config import TelemetryConfig
from sluice.runtime.tracing import Tracing
from tests.integration.fake_scribe import MODEL, FakeScribe, card
from tests.integration.fake_worker import FakeWorker, answer_well, router_to, serving
from tests.unit.polling import until

STOP, LENGTH = 1, 2


class Asked:
    """One text, and all that has come out of it."""

    def __init__(self, router: Router, prompt: str = "once upon", *, timeout_s: float = 20.0, **more: Any) -> None:
        sampling = more.pop("sampling", SamplingParams())
        request = Request(**{"model": MODEL, "text": prompt, "deadline": time.monotonic() + timeout_s, **more})
        self.router = router
        self.ticket: PendingGeneration = router.texts.take(request, sampling)
        self.text = ""
        self.tokens = 0

    async def more(self) -> TokenChunk:
        portion = await asyncio.wait_for(self.ticket.outlet.take(), 10)
        self.text += portion.text
        self.tokens = portion.tokens
        return portion

    async def outcome(self) -> GenerationResult | SluiceError:
        while (portion := await self.more()).outcome is None:
            pass
        return portion.outcome


@asynccontextmanager
async def texting(*scribes: FakeScribe, **settings: Any) -> AsyncIterator[Router]:
    """A router to these workers."""
    async with asyncio.timeout(60):
        async with serving(scribes[0]) as first:
            if len(scribes) == 1:
                async with router_to(first, **settings) as router:
                    yield router
                return
            async with serving(scribes[1]) as second, router_to(first, second, **settings) as router:
                yield router


def ended(router: Router) -> dict[str, int]:
    """How many texts ended how."""
    found: dict[str, int] = {}
    for (_, _, outcome, _), count in router.ledger.outcomes.items():
        found[outcome] = found.get(outcome, 0) + count
    return found


def nothing_is_left(router: Router) -> bool:
    links = list(router.pool.links())
    return (
        router.open_requests == router.texts.open == router.admission.size == 0
        and router.dispatcher.waiting() == (0, 0)
        and not any(link.texts.open for link in links)
    )


async def test_a_text_grows_by_its_pieces_and_ends_once() -> None:
    scribe = FakeScribe()
    async with texting(scribe) as router:
        asked = Asked(
            router, sampling=SamplingParams(max_new_tokens=9, temperature=0.5, top_p=0.9, top_k=3, seed=0, stop=("x",))
        )
        number = await scribe.text("once upon")
        sent = scribe.texts[number]
        assert (sent.max_new_tokens, sent.temperature, sent.top_p, sent.top_k) == (9, 0.5, 0.9, 3)
        assert (sent.HasField("seed"), sent.seed, list(sent.stop), sent.variant) == (True, 0, ["x"], "chat/full-fp32")
        assert 10 < sent.timeout.ToTimedelta().total_seconds() <= 20
        scribe.write(number, "", tokens=0)
        scribe.write(number, " a", tokens=1)
        assert (await asked.more()).text == " a"
        scribe.write(number, " time", tokens=3, finish=STOP)
        outcome = await asked.outcome()
        assert isinstance(outcome, GenerationResult)
        assert (asked.text, outcome.tokens, outcome.prompt_tokens, outcome.finish_reason) == (" a time", 3, 2, STOP)
        assert (outcome.variant.id, outcome.worker, outcome.degraded_from) == ("chat/full-fp32", "scribe", 0)
        assert 0 <= outcome.queue_s <= outcome.first_token_s
        assert router.ledger.outcomes == {(MODEL, "full", "ok", "cold"): 1}
        assert nothing_is_left(router)


async def test_pieces_that_nobody_takes_become_one_portion() -> None:
    scribe = FakeScribe()
    async with texting(scribe) as router:
        asked, other = Asked(router), Asked(router, "other")
        one, two = await scribe.text("once upon"), await scribe.text("other")
        for at in range(1, 101):
            scribe.write(one, "x", tokens=at)
        scribe.write(two, "y", tokens=1)
        assert (await other.more()).text == "y"
        portion = await asked.more()
        assert (portion.text, portion.tokens) == ("x" * 100, 100)


async def test_texts_wait_for_credits_hot_before_cold_and_then_by_deadline() -> None:
    scribe = FakeScribe(credits_=1)
    async with texting(scribe) as router:
        Asked(router, "first")
        first = await scribe.text("first")
        Asked(router, "cold, late", timeout_s=30)
        Asked(router, "cold, soon", timeout_s=20)
        Asked(router, "hot, late", timeout_s=30, priority=0.9)
        Asked(router, "hot, soon", timeout_s=20, priority=0.9)
        assert router.dispatcher.waiting() == (2, 2)
        assert report(router).hot_queued == 2
        order = []
        scribe.write(first, grants=1)
        for _ in range(4):
            await until(lambda: len(scribe.texts) == len(order) + 2)
            number = list(scribe.texts)[-1]
            order.append(scribe.texts[number].prompt)
            assert router.dispatcher.waiting() == (max(0, 2 - len(order)), min(2, 4 - len(order)))
            scribe.write(number, grants=1)
        assert order == ["hot, soon", "hot, late", "cold, soon", "cold, late"]
        assert scribe.batches == []


async def test_the_idlest_worker_writes_first() -> None:
    one, two = FakeScribe(name="one"), FakeScribe(name="two")
    async with texting(one, two) as router:
        for number in range(6):
            Asked(router, f"text {number}")
        await until(lambda: len(one.texts) + len(two.texts) == 6)
        assert len(one.texts) == len(two.texts) == 3


async def test_a_caller_who_leaves_frees_the_worker_at_once_and_is_counted_once() -> None:
    scribe = FakeScribe()
    async with texting(scribe) as router:
        asked, waits = Asked(router), Asked(router, "waits")
        number = await scribe.text("once upon")
        scribe.write(number, "a", tokens=1)
        await asked.more()
        router.cancel(asked.ticket)
        router.texts.cancel(asked.ticket)
        outcome = await asked.outcome()
        assert isinstance(outcome, Cancelled)
        await until(lambda: scribe.cancelled == [number])
        router.texts.cancel(waits.ticket)
        # Pieces that were on their way, the last one included, change nothing.
        scribe.write(number, "b", tokens=2)
        scribe.fail(number, Cancelled("cancelled"), tokens=2)
        await until(lambda: nothing_is_left(router) or len(scribe.cancelled) == 2)
        assert ended(router) == {"cancelled": 2}


async def test_a_deadline_that_passes_while_it_is_written_ends_the_text_here_and_there() -> None:
    scribe = FakeScribe()
    async with texting(scribe) as router:
        asked = Asked(router, timeout_s=0.2)
        number = await scribe.text("once upon")
        scribe.write(number, "a", tokens=1)
        outcome = await asked.outcome()
        assert isinstance(outcome, Expired)
        assert asked.text == "a"
        await until(lambda: scribe.cancelled == [number])
        assert ended(router) == {"rejected-ttl-expired": 1}


async def test_a_text_that_lost_its_worker_before_its_first_token_is_written_by_another_one() -> None:
    one, two = FakeScribe(name="one"), FakeScribe(name="two")
    async with texting(one, two) as router:
        asked = Asked(router)
        await until(lambda: one.texts or two.texts)
        dies, lives = (one, two) if one.texts else (two, one)
        # It had its memory already; that is no token.
        dies.write(await dies.text("once upon"))
        dies.die()
        lives.write(await lives.text("once upon"), "b", tokens=1, finish=LENGTH)
        outcome = await asked.outcome()
        assert isinstance(outcome, GenerationResult)
        assert (asked.text, outcome.worker, outcome.finish_reason) == ("b", lives.name, LENGTH)
        assert ended(router) == {"ok": 1}


async def test_two_workers_that_die_before_the_first_token_are_enough() -> None:
    one, two = FakeScribe(name="one"), FakeScribe(name="two")
    async with texting(one, two) as router:
        asked = Asked(router)
        for _ in range(2):
            await until(lambda: one.texts or two.texts)
            await (one if one.texts else two).died()
        outcome = await asked.outcome()
        assert isinstance(outcome, WorkerFailed)
        assert ended(router) == {"worker-failed": 1}


@pytest.mark.parametrize("held_back", [False, True])
async def test_a_worker_that_dies_later_ends_the_text_and_says_after_how_many_tokens(*, held_back: bool) -> None:
    one, two = FakeScribe(name="one"), FakeScribe(name="two")
    async with texting(one, two) as router:
        asked = Asked(router)
        await until(lambda: one.texts or two.texts)
        dies, lives = (one, two) if one.texts else (two, one)
        dies.write(await dies.text("once upon"), "" if held_back else "some", tokens=7)
        dies.die()
        outcome = await asked.outcome()
        assert isinstance(outcome, WorkerLost)
        assert outcome.metadata == {"tokens": "7"}
        assert asked.text == ("" if held_back else "some")
        assert lives.texts == {}
        assert ended(router) == {"worker-lost": 1}
        assert nothing_is_left(router)


async def test_a_failure_of_the_worker_s_own_before_the_first_token_earns_one_more_try() -> None:
    scribe = FakeScribe()
    async with texting(scribe) as router:
        asked = Asked(router)
        scribe.fail(await scribe.text("once upon"), WorkerFailed("a fault"))
        await until(lambda: scribe.texts)
        scribe.write(await scribe.text("once upon"), "b", tokens=1, finish=STOP)
        assert isinstance(await asked.outcome(), GenerationResult)
        again = Asked(router, "again")
        for _ in range(2):
            scribe.fail(await scribe.text("again"), WorkerFailed("a fault"))
            await until(lambda: again.ticket.attempts == 2 or scribe.texts)
        assert isinstance(await again.outcome(), WorkerFailed)


async def test_after_the_first_token_a_failure_is_the_outcome() -> None:
    scribe = FakeScribe()
    async with texting(scribe) as router:
        asked = Asked(router)
        number = await scribe.text("once upon")
        scribe.write(number, "a", tokens=1)
        scribe.fail(number, WorkerFailed("no number"), tokens=1)
        assert isinstance(await asked.outcome(), WorkerFailed)
        other = Asked(router, "other")
        number = await scribe.text("other")
        scribe.write(number, "a", tokens=1)
        scribe.fail(number, NoEndpoint("unloaded"), tokens=1)
        outcome = await other.outcome()
        assert isinstance(outcome, WorkerLost)
        assert outcome.metadata == {"tokens": "1"}


async def test_what_a_worker_refuses_untouched_is_sent_elsewhere_and_its_own_fault_is_told() -> None:
    one, two = FakeScribe(name="one"), FakeScribe(name="two")
    async with texting(one, two) as router:
        asked = Asked(router)
        await until(lambda: one.texts or two.texts)
        refuses, takes = (one, two) if one.texts else (two, one)
        number = await refuses.text("once upon")
        refuses.tell(draining=True)
        refuses.fail(number, ShuttingDown("draining"))
        takes.fail(await takes.text("once upon"), InvalidRequest("too long", field="prompt"))
        outcome = await asked.outcome()
        assert isinstance(outcome, InvalidRequest)
        assert outcome.field == "prompt"
        assert ended(router) == {"invalid-argument": 1}


async def test_what_waits_when_its_variant_goes_is_written_by_the_copy() -> None:
    scribe = FakeScribe(card(Tier.FULL), credits_=1)
    async with texting(scribe) as router:
        Asked(router, "first")
        first = await scribe.text("first")
        waits = Asked(router, "waits")
        scribe.tell(card(Tier.LIGHT))
        scribe.write(first, "a", tokens=1, grants=1)
        number = await scribe.text("waits")
        assert scribe.texts[number].variant == "chat/light-fp32"
        scribe.write(first, "b", tokens=2, finish=STOP)
        scribe.write(number, "c", tokens=1, finish=STOP)
        outcome = await waits.outcome()
        assert isinstance(outcome, GenerationResult)
        assert (outcome.variant.tier, outcome.degraded_from) == (Tier.LIGHT, Tier.FULL)


async def test_a_text_waits_for_its_only_worker_to_come_back_and_new_ones_are_refused() -> None:
    scribe = FakeScribe()
    async with texting(scribe, endpoint_grace_s=5) as router:
        asked = Asked(router)
        await scribe.text("once upon")
        scribe.tell()
        scribe.die()
        await until(lambda: not router.view.writing)
        with pytest.raises(NoEndpoint):
            Asked(router)
        scribe.variants = [card()]
        scribe.die()
        scribe.write(await scribe.text("once upon"), "a", tokens=1, finish=STOP)
        assert isinstance(await asked.outcome(), GenerationResult)


@pytest.mark.parametrize(
    ("fields", "sampling", "kind", "field"),
    [
        ({"text": " \n"}, {}, InvalidRequest, "prompt"),
        ({"text": "x" * 70_000}, {}, InvalidRequest, "prompt"),
        ({"priority": 1.5}, {}, InvalidRequest, "priority"),
        ({"request_id": "x" * 129}, {}, InvalidRequest, "request_id"),
        ({"model": "nobody"}, {}, UnknownModel, "model"),
        ({"model": "echo"}, {}, InvalidRequest, "model"),
        ({"deadline": 0.0}, {}, Expired, ""),
        ({"minimum_tier": Tier.FULL}, {}, NoEndpoint, ""),
        ({}, {"temperature": -1.0}, InvalidRequest, "temperature"),
        ({}, {"temperature": float("nan")}, InvalidRequest, "temperature"),
        ({}, {"top_p": 0.0}, InvalidRequest, "top_p"),
        ({}, {"stop": ("a", "")}, InvalidRequest, "stop"),
        ({}, {"stop": ("a",) * 17}, InvalidRequest, "stop"),
        ({}, {"stop": ("a" * 257,)}, InvalidRequest, "stop"),
        ({"text": "x" * 4_001}, {}, InvalidRequest, "prompt"),
    ],
)
async def test_what_nobody_can_write_is_refused_with_the_field_at_fault(
    fields: dict[str, Any], sampling: dict[str, Any], kind: type[SluiceError], field: str
) -> None:
    scribe = FakeScribe(card(Tier.LIGHT, max_tokens=1_000, max_token_bytes=4))
    async with texting(scribe, FakeWorker(answer_well)) as router:  # type: ignore[arg-type]
        with pytest.raises(kind) as caught:
            Asked(router, sampling=SamplingParams(**sampling), **fields)
        assert caught.value.field == field
        assert ended(router) == {caught.value.reason.value: 1}
        assert nothing_is_left(router)


async def test_a_prompt_that_fits_by_a_byte_is_left_to_the_worker() -> None:
    scribe = FakeScribe(card(max_tokens=1_000, max_token_bytes=4))
    async with texting(scribe) as router:
        Asked(router, "x" * 3_996)
        await scribe.text("x" * 3_996)


async def test_a_model_that_only_writes_answers_no_batches_and_the_other_way_round() -> None:
    scribe = FakeScribe()
    worker = FakeWorker(answer_well)
    async with texting(scribe, worker) as router:  # type: ignore[arg-type]
        deadline = time.monotonic() + 5
        with pytest.raises(InvalidRequest, match="generates text"):
            await router.infer(Request(model=MODEL, text="hello", deadline=deadline))
        answer = await router.infer(Request(model="echo", text="hello", deadline=deadline))
        assert answer.result.classification.label == "hello"
        assert set(router.models()) == {MODEL, "echo"}
        assert scribe.batches == []


async def test_levels_move_texts_to_lesser_tiers_and_to_cpu_workers() -> None:
    directives = ActiveDirective()
    accelerated = FakeScribe(card(Tier.FULL, device="cuda"), card(Tier.LIGHT, device="cuda"), name="gpu")
    plain = FakeScribe(card(Tier.QUANTIZED), name="cpu")
    async with texting(accelerated, plain, directives=directives) as router:
        Asked(router, "full service")
        await accelerated.text("full service")
        directives.apply(Directive(epoch=1, revision=1, levels=(Level.LIGHTEN,), lighten_share=1.0), time.monotonic())
        asked = Asked(router, "lightened")
        assert accelerated.texts[await accelerated.text("lightened")].variant == "chat/light-fp32"
        assert asked.ticket.degraded_from is Tier.FULL
        directives.apply(Directive(epoch=1, revision=2, levels=(Level.OFFLOAD,), offload_share=1.0), time.monotonic())
        Asked(router, "cold")
        await plain.text("cold")
        Asked(router, "hot", priority=0.9)
        await accelerated.text("hot")
        Asked(router, "cold and particular", minimum_tier=Tier.LIGHT)
        await accelerated.text("cold and particular")


async def test_a_draining_router_finishes_its_texts_and_takes_no_new_ones() -> None:
    scribe = FakeScribe()
    async with texting(scribe) as router:
        asked = Asked(router)
        number = await scribe.text("once upon")
        draining = asyncio.create_task(router.drain())
        await asyncio.sleep(0)
        with pytest.raises(ShuttingDown):
            Asked(router)
        assert not draining.done()
        scribe.write(number, "a", tokens=1, finish=STOP)
        await asyncio.wait_for(draining, 5)
        assert isinstance(await asked.outcome(), GenerationResult)
        assert ended(router) == {"ok": 1, "rejected-shutting-down": 1}


async def test_a_worker_that_writes_what_nobody_asked_for_is_dialled_anew() -> None:
    scribe = FakeScribe()
    async with texting(scribe) as router:
        asked = Asked(router)
        number = await scribe.text("once upon")
        scribe.texts.clear()
        scribe.write(number + 1_000, "a", tokens=1)
        scribe.write(await scribe.text("once upon"), "b", tokens=1, finish=STOP)
        assert isinstance(await asked.outcome(), GenerationResult)
        assert ended(router) == {"ok": 1}


async def test_many_texts_cancelled_at_all_moments_leave_nothing() -> None:
    scribe = FakeScribe(credits_=64)
    async with texting(scribe) as router:
        asked = [Asked(router, f"text {number}") for number in range(300)]
        for one in asked[::3]:
            router.texts.cancel(one.ticket)
        await until(lambda: len(scribe.texts) == 64)
        for one in asked:
            router.texts.cancel(one.ticket)
        for one in asked:
            assert isinstance(await one.outcome(), Cancelled)
        await until(lambda: not scribe.texts)
        assert router.open_requests == router.texts.open == 0
        assert ended(router) == {Reason.CANCELLED: 300}


async def test_the_open_inference_protocol_sees_no_model_that_only_writes() -> None:
    scribe, worker = FakeScribe(), FakeWorker(answer_well)
    tracing = Tracing(service="test", config=TelemetryConfig())
    async with texting(scribe, worker) as router:  # type: ignore[arg-type]
        oip: Any = OpenInferenceServicer(router, RequestSpans(tracing))
        ready = [await oip.model_ready(oip_pb2.ModelReadyRequest(name=name), None) for name in (MODEL, "echo")]
        assert [one.ready for one in ready] == [False, True]
    tracing.close()
