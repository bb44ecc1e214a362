"""The second try of a text: alone on a worker that does nothing else, once, and within a share of its time."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest

from services.router.requests.generation import PendingGeneration
from services.router.requests.request import GenerationResult, Request
from services.router.requests.sampling_params import SamplingParams
from services.router.router import Router
from services.router.workers import lone_try
from sluice.domain.errors import SluiceError, WorkerFailed, WorkerLost
from tests.integration.fake_scribe import MODEL, FakeScribe
from tests.integration.fake_worker import router_to, serving
from tests.unit.polling import until

STOP = 1


class Mesh:
    """A router before some scribes."""

    def __init__(self, router: Router, scribes: list[FakeScribe]) -> None:
        self.router = router
        self.scribes = scribes

    def ask(self, prompt: str, *, timeout_s: float = 20.0) -> PendingGeneration:
        request = Request(model=MODEL, text=prompt, deadline=time.monotonic() + timeout_s)
        return self.router.texts.take(request, SamplingParams())

    async def holder(self, prompt: str) -> FakeScribe:
        """Who has the text, once somebody has."""
        await until(lambda: any(has(scribe, prompt) for scribe in self.scribes))
        return next(scribe for scribe in self.scribes if has(scribe, prompt))

    def other(self, scribe: FakeScribe) -> FakeScribe:
        return next(one for one in self.scribes if one is not scribe)


def has(scribe: FakeScribe, prompt: str) -> bool:
    return any(text.prompt == prompt for text in scribe.texts.values())


async def outcome(ticket: PendingGeneration) -> GenerationResult | SluiceError:
    while (portion := await asyncio.wait_for(ticket.outlet.take(), 10)).outcome is None:
        pass
    return portion.outcome


async def end(scribe: FakeScribe, prompt: str) -> None:
    scribe.write(await scribe.text(prompt), "done", tokens=9, finish=STOP, grants=1)


async def mesh(stack: AsyncExitStack, workers: int, **settings: Any) -> Mesh:
    await stack.enter_async_context(asyncio.timeout(60))
    scribes = [FakeScribe(name=f"scribe {number}", credits_=8) for number in range(workers)]
    addresses = [await stack.enter_async_context(serving(scribe)) for scribe in scribes]
    return Mesh(await stack.enter_async_context(router_to(*addresses, **settings)), scribes)


async def settled() -> None:
    """Whatever would be sent has been sent."""
    await asyncio.sleep(0.1)


async def test_it_goes_to_a_worker_with_nothing_else_which_gets_nothing_until_it_has_got_past() -> None:
    async with AsyncExitStack() as stack:
        made = await mesh(stack, 2)
        suspect = made.ask("suspect")
        first = await made.holder("suspect")
        lone = made.other(first)
        made.ask("beside")
        assert await made.holder("beside") is lone
        first.fail(await first.text("suspect"), WorkerFailed("a fault"))
        # The worker that failed is free, and comes last only among those that are.
        assert await made.holder("suspect") is first
        for number in range(4):
            made.ask(f"more {number}")
        await until(lambda: len(lone.texts) == 5)
        assert len(first.texts) == 1
        number = await first.text("suspect")
        first.write(number, "w", tokens=1)
        made.ask("too soon")
        assert await made.holder("too soon") is lone
        first.write(number, "w", tokens=lone_try.CLEARED_TOKENS)
        await settled()
        made.ask("welcome")
        assert await made.holder("welcome") is first
        await end(first, "suspect")
        assert isinstance(await outcome(suspect), GenerationResult)


async def test_the_idlest_is_let_run_dry_and_then_gets_the_suspect_before_what_waits() -> None:
    async with AsyncExitStack() as stack:
        made = await mesh(stack, 1)
        (scribe,) = made.scribes
        old, suspect = made.ask("old"), made.ask("suspect")
        scribe.fail(await scribe.text("suspect"), WorkerFailed("a fault"))
        await settled()
        new = made.ask("new")
        await settled()
        assert [text.prompt for text in scribe.texts.values()] == ["old"]
        await end(scribe, "old")
        await made.holder("suspect")
        await settled()
        assert [text.prompt for text in scribe.texts.values()] == ["suspect"]
        await end(scribe, "suspect")
        await end(scribe, "new")
        assert all([isinstance(await outcome(one), GenerationResult) for one in (old, suspect, new)])


async def test_a_worker_is_not_kept_idle_for_long_and_a_suspect_that_finds_none_free_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lone_try, "HOLD_S", 0.2)
    monkeypatch.setattr("services.router.dispatch.dispatcher.HOLD_S", 0.2)
    async with AsyncExitStack() as stack:
        made = await mesh(stack, 1)
        (scribe,) = made.scribes
        made.ask("old")
        await made.holder("old")
        suspect = made.ask("suspect", timeout_s=2.0)
        scribe.fail(await scribe.text("suspect"), WorkerFailed("a fault"))
        await settled()
        made.ask("new")
        # After the hold the worker takes what waits, though it never ran dry.
        await made.holder("new")
        begun_at = time.monotonic()
        failed = await outcome(suspect)
        assert isinstance(failed, WorkerFailed)
        assert "none was free" in failed.message
        assert time.monotonic() - begun_at < 1.5
        assert not has(scribe, "suspect")


async def test_after_a_death_each_is_tried_alone_and_who_ends_a_second_worker_is_known() -> None:
    async with AsyncExitStack() as stack:
        made = await mesh(stack, 2)
        tickets = {name: made.ask(name) for name in ("a", "killer", "b", "c")}
        await until(lambda: sum(len(scribe.texts) for scribe in made.scribes) == len(tickets))
        dies = await made.holder("killer")
        lives = made.other(dies)
        beside = [name for name in tickets if name != "killer" and has(dies, name)]
        others = [name for name in tickets if name != "killer" and has(lives, name)]
        assert len(beside) == 1
        # It has a token, and cannot go on elsewhere.
        later = made.ask("later")
        holder = await made.holder("later")
        holder.write(await holder.text("later"), "w", tokens=1)
        if holder is not dies:
            await end(lives, "later")
        for name in others:
            await end(lives, name)
        await until(lambda: not lives.texts)
        await dies.died()
        order: list[str] = []
        while len(order) < 2:
            await until(lambda: lives.texts or dies.texts)
            scribe = lives if lives.texts else dies
            (text,) = scribe.texts.values()
            order.append(text.prompt)
            if text.prompt == "killer":
                await scribe.died()
            else:
                await end(scribe, text.prompt)
                await until(lambda: not has(scribe, text.prompt))  # noqa: B023  waited for at once
        assert sorted(order) == sorted(["killer", *beside])
        assert isinstance(await outcome(tickets["killer"]), WorkerFailed)
        for name in (*beside, *others):
            assert isinstance(await outcome(tickets[name]), GenerationResult)
        assert isinstance(await outcome(later), GenerationResult if holder is not dies else WorkerLost)
        with pytest.raises(WorkerFailed, match="has ended two workers"):
            made.ask("killer")
        await until(lambda: all(link.up for link in made.router.pool.links()))
        harmless = made.ask("killer, but not quite")
        await end(await made.holder("killer, but not quite"), "killer, but not quite")
        assert isinstance(await outcome(harmless), GenerationResult)
