"""Generate from the caller's end: real calls, router and workers, and models that write back what they read."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from sluice.client.failure import from_rpc_error
from sluice.control.directive import ActiveDirective, Directive
from sluice.domain.enums import Level, Tier
from sluice.domain.errors import Expired, InvalidRequest, Reason, WorkerLost
from sluice.transport.server import drain
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import tier_pb2
from tests.integration.text_mesh import LENGTH, MODEL, STOP, Call, TextMesh, text_mesh
from tests.unit.polling import until

SOON: dict[Tier, dict[str, Any]] = {Tier.FULL: {}}
SLOWLY: dict[Tier, dict[str, Any]] = {Tier.FULL: {"step_s": 0.001}}
ENDLESS = " ".join(f"word{number}" for number in range(6_000))


async def test_a_text_comes_in_order_and_says_who_wrote_it_and_why_it_ends() -> None:
    async with text_mesh(SLOWLY) as mesh:
        call = mesh.ask("the quick brown fox", request_id="r1")
        assert await call.ended() == "the quick brown fox"
        messages, first, last = call.messages, call.messages[0], call.last
        assert (first.variant, first.worker, first.tier) == ("chat/full-fp32", "w1", tier_pb2.TIER_FULL)
        assert first.tokens >= 1
        assert [message.tokens for message in messages] == sorted({message.tokens for message in messages})
        assert (last.tokens, last.prompt_tokens, last.finish_reason) == (4, 4, STOP)
        assert all(not message.variant and not message.finish_reason for message in messages[1:-1])
        assert mesh.outcomes() == {"ok": 1}
        await until(lambda: mesh.is_idle)


@pytest.mark.parametrize(
    ("fields", "text", "finish"),
    [
        ({}, "where is my parcel", STOP),
        ({"max_new_tokens": 2}, "where is", LENGTH),
        ({"stop": ["my"]}, "where is ", STOP),
        ({"stop": ["nowhere", "is my"], "temperature": 0.7, "top_p": 0.5, "top_k": 3, "seed": 1}, "where ", STOP),
        ({"model": ""}, "where is my parcel", STOP),
    ],
)
async def test_what_is_asked_for_reaches_the_model(fields: dict[str, Any], text: str, finish: int) -> None:
    async with text_mesh(SOON) as mesh:
        call = mesh.ask("where is my parcel", **fields)
        assert (await call.ended(), call.last.finish_reason) == (text, finish)


async def test_a_text_without_a_length_has_128_tokens() -> None:
    async with text_mesh(SOON) as mesh:
        call = mesh.ask(ENDLESS, max_new_tokens=0, priority=0.9)
        await call.ended()
        assert (call.last.tokens, call.last.finish_reason) == (128, LENGTH)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "a " * 11}, "prompt"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"priority": -0.1}, "priority"),
        ({"minimum_tier": 9}, "minimum_tier"),
    ],
)
async def test_what_cannot_be_written_is_refused_by_its_field(fields: dict[str, Any], field: str) -> None:
    async with text_mesh({Tier.FULL: {"memory_tokens": 10}}) as mesh:
        call = mesh.ask(**({"prompt": "a b c"} | fields))
        error = await call.failure()
        assert isinstance(error, InvalidRequest)
        assert (call.text, error.field) == ("", field)
        await until(lambda: mesh.is_idle)


async def test_a_message_that_cannot_be_read_is_the_caller_s_mistake() -> None:
    async with text_mesh(SOON) as mesh:
        rpc: Any = mesh.face.channel.unary_stream("/sluice.v1.InferenceService/Generate")  # type: ignore[call-arg]
        assert isinstance(await Call(rpc(b"\xff\xff")).failure(), InvalidRequest)
        assert mesh.outcomes() == {Reason.INVALID_ARGUMENT: 1}


async def test_infer_is_refused_by_a_model_that_writes() -> None:
    async with text_mesh(SOON) as mesh:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await mesh.face.stub.Infer(inference_pb2.InferRequest(model=MODEL, text="hello"), timeout=5)
        error = from_rpc_error(caught.value)
        assert isinstance(error, InvalidRequest)
        assert error.field == "model"


async def test_a_caller_who_cancels_frees_the_memory_at_once() -> None:
    async with text_mesh({Tier.FULL: {"step_s": 0.001, "memory_tokens": 30_000}}) as mesh:
        call = mesh.ask(ENDLESS)
        await call.begun()
        waits = mesh.ask(ENDLESS, max_new_tokens=3)
        await until(lambda: mesh.scribes[0].echo.open_texts == 2)
        call.cancel()
        await waits.ended()
        assert waits.last.tokens == 3
        await until(lambda: mesh.is_idle)
        assert mesh.outcomes() == {"cancelled": 1, "ok": 1}


async def test_a_thousand_cancelled_streams_leave_nothing_open() -> None:
    async with text_mesh({Tier.FULL: {"step_s": 0.001, "memory_tokens": 1 << 24}}) as mesh:
        for batch in range(10):
            calls = [mesh.ask(ENDLESS if number % 2 else "a few words " * 50) for number in range(100)]
            # Some before they are sent, some while they wait, some in the middle.
            for call in calls[: 10 * batch]:
                call.cancel()
            await calls[-1].begun()
            for call in calls:
                call.cancel()
        await until(lambda: mesh.is_idle)
        assert mesh.outcomes().keys() <= {"cancelled", "ok"}


async def test_a_deadline_in_the_middle_ends_the_text_everywhere() -> None:
    async with text_mesh(SLOWLY) as mesh:
        call = mesh.ask(ENDLESS, timeout_s=0.5)
        await call.begun()
        assert isinstance(await call.failure(), Expired)
        await until(lambda: mesh.is_idle)
        assert sum(mesh.outcomes().values()) == 1


async def test_a_text_that_still_waits_at_its_deadline_was_never_written() -> None:
    async with text_mesh({Tier.FULL: {"step_s": 0.001, "max_generations": 1}}) as mesh:
        call = mesh.ask(ENDLESS)
        await call.begun()
        assert isinstance(await mesh.ask("a b c", timeout_s=0.3).failure(), Expired)
        call.cancel()
        await until(lambda: mesh.is_idle)


async def test_a_reader_that_stands_still_slows_nobody_and_finds_all_of_its_text() -> None:
    async with text_mesh(SOON, max_text_bytes=1 << 20) as mesh:
        prompt = " ".join("word" + "x" * 60 for _ in range(12_000))
        stalled = mesh.ask(prompt)
        await stalled.begun()
        # Far beyond what the transport holds for a reader who does not read.
        await until(lambda: mesh.scribes[0].echo.open_texts == 0)
        for number in range(50):
            call = mesh.ask(f"text number {number} goes its way", timeout_s=10)
            assert (await call.ended(), call.last.tokens) == (f"text number {number} goes its way", 6)
        assert await stalled.ended() == prompt
        assert stalled.last.tokens == 12_000
        assert len(stalled.messages) < 12_000
        await until(lambda: mesh.is_idle)


async def test_memory_that_is_full_makes_texts_wait_and_all_are_written() -> None:
    async with text_mesh({Tier.FULL: {"step_s": 0.001, "memory_tokens": 50}}) as mesh:
        prompt = "a b c d e f g h i j"
        calls = [mesh.ask(prompt, max_new_tokens=10) for _ in range(100)]
        assert [await call.ended() for call in calls] == [prompt] * 100
        assert mesh.outcomes() == {"ok": 100}
        await until(lambda: mesh.is_idle)


async def test_a_worker_that_is_killed_before_the_first_token_costs_nothing() -> None:
    waits: dict[Tier, dict[str, Any]] = {Tier.FULL: {"step_s": 5.0}}
    async with text_mesh(waits, waits) as mesh:
        calls = [mesh.ask("a b c", max_new_tokens=1) for _ in range(8)]
        dies, lives = mesh.scribes
        await until(lambda: dies.echo.held_tokens and lives.echo.held_tokens)
        lives.echo._step_s = 0.0
        await dies.worker.server.stop(0)
        for call in calls:
            assert (await call.ended(), call.last.finish_reason) == ("a", LENGTH)
        assert mesh.outcomes() == {"ok": 8}


async def test_a_worker_that_is_killed_later_ends_its_texts_and_says_after_how_many_tokens() -> None:
    async with text_mesh(SLOWLY, SLOWLY) as mesh:
        calls = [mesh.ask(ENDLESS), mesh.ask(ENDLESS)]
        for call in calls:
            await call.begun(3)
        await mesh.scribes[0].worker.server.stop(0)
        readers = {asyncio.create_task(call.failure()): call for call in calls}
        (ended,), (other,) = await asyncio.wait(readers, return_when=asyncio.FIRST_COMPLETED)
        error = ended.result()
        assert isinstance(error, WorkerLost)
        assert int(error.metadata["tokens"]) == len(readers[ended].text.split()) == readers[ended].last.tokens
        readers[other].cancel()
        await asyncio.gather(other, return_exceptions=True)
        await until(lambda: mesh.scribes[1].is_idle)
        assert mesh.outcomes() == {Reason.WORKER_LOST: 1, Reason.CANCELLED: 1}


async def test_a_draining_worker_ends_its_texts_while_others_take_the_new_ones() -> None:
    async with text_mesh(SLOWLY, SLOWLY) as mesh:
        prompt = "a b c d e f g h " * 30
        calls = [mesh.ask(prompt) for _ in range(4)]
        for call in calls:
            await call.begun()
        leaves, stays = mesh.scribes
        draining = asyncio.create_task(leaves.worker.servicer.drain())
        await until(lambda: any(link.draining for link in mesh.router.pool.links()))
        later = [mesh.ask("x y z") for _ in range(4)]
        for call in later:
            assert await call.ended() == "x y z"
        for call in calls:
            await call.ended()
            assert call.last.tokens == 240
        await asyncio.wait_for(draining, 10)
        assert stays.worker.bench.catalog.writers.texts == 6


async def test_a_worker_that_may_drain_no_longer_ends_its_texts_as_lost() -> None:
    async with text_mesh(SLOWLY) as mesh:
        call = mesh.ask(ENDLESS)
        await call.begun()
        server = mesh.scribes[0].worker.server
        await drain(server, mesh.scribes[0].worker.servicer.drain, grace_s=0.1)
        error = await call.failure()
        assert isinstance(error, WorkerLost)
        assert int(error.metadata["tokens"]) == call.last.tokens
        await until(lambda: mesh.is_idle)


async def test_a_draining_router_finishes_its_streams() -> None:
    async with text_mesh(SLOWLY) as mesh:
        call = mesh.ask("a b c d e f g h " * 20)
        await call.begun()
        draining = asyncio.create_task(mesh.router.drain())
        await until(lambda: mesh.router.draining)
        error = await mesh.ask("too late").failure()
        assert error.reason is Reason.SHUTTING_DOWN
        await call.ended()
        assert call.last.tokens == 160
        await asyncio.wait_for(draining, 10)


async def test_level_two_lets_texts_end_where_they_are_and_begins_new_ones_on_the_copy() -> None:
    directives = ActiveDirective()
    both: dict[Tier, dict[str, Any]] = {Tier.FULL: {"step_s": 0.001}, Tier.LIGHT: {}}
    async with text_mesh(both, directives=directives) as mesh:
        prompt = "a b c d e f g h " * 30
        calls = [mesh.ask(prompt) for _ in range(20)]
        for call in calls:
            assert (await call.begun()).tier == tier_pb2.TIER_FULL
        # As a worker's own swap does: the copy serves, and the full model takes nothing more.
        unloading = asyncio.create_task(mesh.scribes[0].worker.bench.catalog.unload("chat/full-fp32"))
        await until(lambda: "chat/full-fp32" not in mesh.router.view.variants)
        later = [mesh.ask("x y z") for _ in range(20)]
        for call in later:
            first = await call.begun()
            assert (first.tier, first.degraded_from) == (tier_pb2.TIER_LIGHT, tier_pb2.TIER_FULL)
        refused = mesh.ask("x y z", minimum_tier=tier_pb2.TIER_FULL)
        assert (await refused.failure()).reason is Reason.NO_ENDPOINTS
        for call in calls:
            await call.ended()
            assert call.last.tokens == 240
        await asyncio.wait_for(unloading, 10)
        assert mesh.outcomes()["ok"] == 40


async def test_a_share_of_the_texts_is_lightened_by_the_router() -> None:
    directives = ActiveDirective()
    async with text_mesh({Tier.FULL: {}, Tier.LIGHT: {}}, directives=directives) as mesh:
        lighten = Directive(epoch=1, revision=1, levels=(Level.LIGHTEN,), lighten_share=0.5)
        directives.apply(lighten, asyncio.get_running_loop().time())
        tiers = [(await mesh.ask("a b c").begun()).tier for _ in range(60)]
        assert set(tiers) == {tier_pb2.TIER_FULL, tier_pb2.TIER_LIGHT}


async def _steady(mesh: TextMesh, over: asyncio.Event) -> int:
    count = 0
    while not over.is_set():
        call = mesh.ask("one two three four five")
        await call.ended()
        assert call.last.finish_reason == STOP
        count += 1
    return count


async def test_workers_that_come_and_go_fail_no_text_that_has_not_begun() -> None:
    async with text_mesh(SOON, SOON) as mesh:
        over = asyncio.Event()
        callers = [asyncio.create_task(_steady(mesh, over)) for _ in range(8)]
        for round_ in range(6):
            scribe = mesh.scribes[round_ % 2]
            catalog = scribe.worker.bench.catalog
            await catalog.unload("chat/full-fp32")
            await until(lambda: len([one for one in mesh.router.pool.links() if one.texts.variants]) == 1)
            await asyncio.sleep(0.02)
            await catalog.load(model=MODEL, tier=Tier.FULL, checkpoint="echo")
            await until(lambda: len([one for one in mesh.router.pool.links() if one.texts.variants]) == 2)
        over.set()
        counts = await asyncio.gather(*callers)
        assert mesh.outcomes() == {"ok": sum(counts)}
        await until(lambda: mesh.router.open_requests == 0)
