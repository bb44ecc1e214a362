"""Texts from a real model, over router and worker: what it writes by itself, and through a swap for its copy."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from services.gpu_worker.load import load
from sluice.config import TelemetryConfig
from sluice.errors import InvalidRequest
from sluice.telemetry import Tracing
from sluice.tier import Tier
from sluice.v1 import tier_pb2
from sluice.worker.reading import Memory
from sluice.worker.swap_step import FULL_SERVICE, Wish
from sluice.worker.swapper import Swapper
from tests.integration.fake_worker import router_to
from tests.integration.live_router import Face
from tests.integration.live_worker import working
from tests.integration.text_mesh import LENGTH, MODEL, STOP, Scribe, TextMesh
from tests.unit.polling import until
from tests.unit.worker.ram import COPIES

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(find_spec("torch") is None, reason="the worker extra is not installed"),
]
PROMPT = "where is my parcel?"
LONGEST, TOKENS = 256, 24
FULL, LIGHT = f"{MODEL}/full-fp32", f"{MODEL}/light-fp32"
TIERS = {tier_pb2.TIER_FULL: "full", tier_pb2.TIER_LIGHT: "light"}


class Writing:
    """A mesh with one worker, whose model has a copy, and what each of the two writes for PROMPT."""

    def __init__(self, mesh: TextMesh, texts: dict[str, str]) -> None:
        self.mesh = mesh
        self.texts = texts
        self.wish = FULL_SERVICE
        self.wrote: Counter[str] = Counter()

    def states(self) -> dict[str, str]:
        return {one.id: one.state.name for one in self.mesh.scribes[0].worker.bench.catalog.variants()}

    async def reach(self, wish: Wish, variant: str) -> None:
        self.wish = wish
        await until(lambda: self.states() == {variant: "READY"}, 60)

    async def call(self) -> None:
        """Have PROMPT written on; whoever does it writes what it always does."""
        call = self.mesh.ask(PROMPT, max_new_tokens=TOKENS)
        text = await call.ended()
        tier = TIERS[call.messages[0].tier]
        assert text == self.texts[tier], tier
        assert (call.last.tokens, call.last.finish_reason) == (TOKENS, LENGTH)
        self.wrote[tier] += 1


@asynccontextmanager
async def writing(root: Path) -> AsyncIterator[Writing]:
    from tests.unit.engine import tiny
    from tests.unit.engine.generation.generators import written

    tracing = Tracing(service="test", config=TelemetryConfig())
    texts: dict[str, str] = {}
    for seed, tier in enumerate(TIERS.values()):
        settings = {"max_position_embeddings": LONGEST, "eos_token_id": None}
        tiny.write_language_model(root / tier, "deepseek_v3", seed=seed, **settings)
        texts[tier], _ = written(root / tier, PROMPT, TOKENS)
    async with working(root=root, load=partial(load, device_name="cpu")) as worker:
        catalog = worker.bench.catalog
        made: list[Writing] = []
        swapper = Swapper(
            catalog,
            wish=lambda: made[0].wish,
            memory=lambda: Memory(used_bytes=0, limit_bytes=1 << 40),
            ceiling=0.9,
            light_budget=0.5,
            settle_s=0.02,
        )
        full, copy = (
            catalog.spec(model=MODEL, tier=tier, checkpoint=name, precision="fp32")
            for tier, name in ((Tier.FULL, "full"), (Tier.LIGHT, "light"))
        )
        await swapper.add(full, light=copy)
        async with router_to(worker.address, endpoint_grace_s=5) as router:
            face = Face(router, tracing)
            await face.server.start()
            made.append(Writing(TextMesh(face, [Scribe(worker, {})]), texts))
            running = asyncio.create_task(swapper.run())
            try:
                yield made[0]
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                await face.channel.close(None)
                await face.server.stop(0)
                await catalog.close()
    tracing.close()


async def test_a_text_is_the_models_own_and_one_too_long_is_the_callers_mistake(tmp_path: Path) -> None:
    async with writing(tmp_path) as made:
        assert made.texts["full"] != made.texts["light"]
        call = made.mesh.ask(PROMPT, max_new_tokens=TOKENS)
        assert await call.ended() == made.texts["full"]
        assert len(call.messages) > 1
        assert call.messages[0].variant == FULL
        assert (call.last.tokens, call.last.finish_reason) == (TOKENS, LENGTH)
        assert call.last.prompt_tokens > len(PROMPT.split())
        stop = made.texts["full"][6:9]
        stopped = made.mesh.ask(PROMPT, max_new_tokens=TOKENS, stop=[stop])
        assert await stopped.ended() == made.texts["full"].partition(stop)[0]
        assert stopped.last.finish_reason == STOP
        error = await made.mesh.ask("q" * LONGEST).failure()
        assert isinstance(error, InvalidRequest)
        assert error.field == "prompt"
        endless = made.mesh.ask(PROMPT, max_new_tokens=10_000)
        await endless.begun()
        endless.cancel()
        await until(lambda: made.mesh.is_idle)


async def test_a_swap_there_and_back_fails_no_text(tmp_path: Path) -> None:
    async with writing(tmp_path) as made:
        over = asyncio.Event()

        async def keep_asking() -> None:
            while not over.is_set():
                await made.call()

        callers = [asyncio.create_task(keep_asking()) for _ in range(6)]
        try:
            for wish, variant, tier in ((COPIES, LIGHT, "light"), (FULL_SERVICE, FULL, "full")) * 2:
                await made.reach(wish, variant)
                before = made.wrote[tier]
                await until(lambda: made.wrote[tier] > before + 6, 60)  # noqa: B023  waited for at once
        finally:
            over.set()
            await asyncio.gather(*callers)
        assert made.mesh.outcomes() == {"ok": made.wrote.total()}
        await until(lambda: made.mesh.is_idle)
