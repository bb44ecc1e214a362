"""Level 2 for a model that writes, over a whole mesh: whoever asks meanwhile is written to, to the last token."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sluice.config import TelemetryConfig
from sluice.telemetry import Tracing
from sluice.tier import Tier
from sluice.v1 import tier_pb2
from sluice.worker.backend import ModelSpec
from sluice.worker.echo import EchoGenerator
from sluice.worker.reading import Memory
from sluice.worker.swap_step import FULL_SERVICE, Wish
from sluice.worker.swapper import Swapper
from tests.integration.fake_worker import router_to
from tests.integration.live_router import Face
from tests.integration.live_worker import Worker, working
from tests.integration.text_mesh import MODEL, Scribe, TextMesh
from tests.unit.polling import until
from tests.unit.worker.ram import COPIES, SOME_COPIES, checkpoint

FULL, LIGHT = f"{MODEL}/full-fp32", f"{MODEL}/light-fp32"
READY, UNLOADING = "READY", "UNLOADING"
LIMIT, FULL_BYTES, LIGHT_BYTES = 1_000, 400, 40
PROMPT = "a b c d e f g h " * 10


class Swapping:
    """One worker with a pair, before a router; `tiers` count who wrote what was asked for."""

    def __init__(self, worker: Worker, swapper: Swapper, mesh: TextMesh) -> None:
        self.worker = worker
        self.swapper = swapper
        self.mesh = mesh
        self.wish = FULL_SERVICE
        self.tiers: Counter[int] = Counter()

    def states(self) -> dict[str, str]:
        return {variant.id: variant.state.name for variant in self.worker.bench.catalog.variants()}

    async def reach(self, wish: Wish, states: dict[str, str]) -> None:
        self.wish = wish
        await until(lambda: self.states() == states)

    async def under_load(self, story: Callable[[], Awaitable[None]]) -> None:
        """Have texts written all the time while `story` is told."""
        over = asyncio.Event()
        callers = [asyncio.create_task(self._call(over)) for _ in range(8)]
        try:
            await story()
        finally:
            over.set()
            await asyncio.gather(*callers)

    async def _call(self, over: asyncio.Event) -> None:
        while not over.is_set():
            call = self.mesh.ask(PROMPT)
            assert await call.ended() == PROMPT.strip()
            assert call.last.tokens == 80
            self.tiers[call.messages[0].tier] += 1


@asynccontextmanager
async def swapping(root: Path, *, both_fit: bool = True) -> AsyncIterator[Swapping]:
    """A worker that serves `chat/full-fp32`, and whose copy is in memory if both fit there."""
    checkpoint(root / "full", FULL_BYTES)
    checkpoint(root / "light", LIGHT_BYTES)
    echoes: dict[Tier, EchoGenerator] = {}
    made: list[Swapping] = []

    def load(spec: ModelSpec) -> EchoGenerator:
        echoes[spec.tier] = EchoGenerator(spec, step_s=0.0005)
        return echoes[spec.tier]

    def memory() -> Memory:
        ladders = made[0].swapper._ladders if made else []
        held = sum(slot.size_bytes for ladder in ladders for slot in ladder.slots if slot.held is not None)
        return Memory(used_bytes=(100 if both_fit else 500) + held, limit_bytes=LIMIT)

    async with working(root=root, load=load) as worker:
        catalog = worker.bench.catalog
        swapper = Swapper(
            catalog,
            wish=lambda: made[0].wish if made else FULL_SERVICE,
            memory=memory,
            ceiling=0.92,
            light_budget=0.05 if both_fit else 0.0,
            settle_s=0.02,
        )
        await swapper.add(
            catalog.spec(model=MODEL, tier=Tier.FULL, checkpoint="full"),
            light=catalog.spec(model=MODEL, tier=Tier.LIGHT, checkpoint="light"),
        )
        tracing = Tracing(service="test", config=TelemetryConfig())
        async with router_to(worker.address, endpoint_grace_s=5) as router:
            face = Face(router, tracing)
            await face.server.start()
            running = asyncio.create_task(swapper.run())
            made.append(Swapping(worker, swapper, TextMesh(face, [Scribe(worker, echoes)])))
            try:
                yield made[0]
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                await face.channel.close(None)
                await face.server.stop(0)
                await catalog.close()
        tracing.close()


async def test_a_swap_there_and_back_fails_no_text(tmp_path: Path) -> None:
    async with swapping(tmp_path) as made:

        async def story() -> None:
            await until(lambda: made.tiers.total() >= 8)
            await made.reach(COPIES, {LIGHT: READY})
            before = made.tiers[tier_pb2.TIER_LIGHT]
            await until(lambda: made.tiers[tier_pb2.TIER_LIGHT] >= before + 8)
            await made.reach(FULL_SERVICE, {FULL: READY})
            await asyncio.sleep(0.1)

        await made.under_load(story)
        assert made.tiers.keys() == {tier_pb2.TIER_FULL, tier_pb2.TIER_LIGHT}
        assert made.mesh.outcomes() == {"ok": made.tiers.total()}
        await until(lambda: made.mesh.is_idle)


async def test_a_text_that_is_being_written_ends_on_the_full_model_while_the_copy_serves(tmp_path: Path) -> None:
    async with swapping(tmp_path) as made:
        long = made.mesh.ask("word " * 5_000)
        assert (await long.begun()).tier == tier_pb2.TIER_FULL
        await made.reach(COPIES, {FULL: UNLOADING, LIGHT: READY})
        call = made.mesh.ask(PROMPT)
        assert (await call.begun()).tier == tier_pb2.TIER_LIGHT
        assert await call.ended() == PROMPT.strip()
        assert made.states() == {FULL: UNLOADING, LIGHT: READY}
        await long.ended()
        assert long.last.tokens == 5_000
        await until(lambda: made.states() == {LIGHT: READY})


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_wish_that_flaps_fails_no_text(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    async with swapping(tmp_path) as made:

        async def story() -> None:
            for _ in range(40):
                made.wish = dice.choice([FULL_SERVICE, SOME_COPIES, COPIES])
                await asyncio.sleep(dice.random() * 0.2)
            await made.reach(FULL_SERVICE, {FULL: READY})

        await made.under_load(story)
        assert made.mesh.outcomes() == {"ok": made.tiers.total()}


async def test_where_only_one_fits_texts_that_come_between_wait_for_the_copy(tmp_path: Path) -> None:
    async with swapping(tmp_path, both_fit=False) as made:
        assert made.states() == {FULL: READY}
        long = made.mesh.ask("word " * 2_000)
        await long.begun()
        await made.reach(COPIES, {LIGHT: READY})
        await long.ended()
        assert long.last.tokens == 2_000
        assert await made.mesh.ask(PROMPT).ended() == PROMPT.strip()
