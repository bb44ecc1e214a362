"""Level 2 for a model that writes, over a whole mesh: whoever asks meanwhile is written to, to the last token."""

from __future__ import annotations

import asyncio
import random
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from sluice.domain.enums import Tier
from sluice.testing.echo import EchoGenerator
from sluice.v1 import tier_pb2
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.models.swap_controller import SwapController
from sluice.worker.models.swap_policy import FULL_SERVICE
from sluice.worker.resources.reading import Memory
from tests.integration.text_mesh import TextMesh
from tests.integration.writing_pair import FULL, LIGHT, WritingPair, writing_pair
from tests.unit.polling import until
from tests.unit.worker.ram import (
    COPIES,
    FULL_BYTES,
    LIGHT_BYTES,
    LIMIT,
    READY,
    SOME_COPIES,
    UNLOADING,
    checkpoint,
)

PROMPT = "a b c d e f g h " * 10


def swapping(root: Path, *, both_fit: bool = True) -> AbstractAsyncContextManager[WritingPair]:
    """A worker that serves `chat/full-fp32`, and whose copy is in memory if both fit there."""
    checkpoint(root / "full", FULL_BYTES)
    checkpoint(root / "light", LIGHT_BYTES)
    echoes: dict[Tier, EchoGenerator] = {}

    def load(spec: ModelSpec) -> EchoGenerator:
        echoes[spec.tier] = EchoGenerator(spec, step_s=0.0005)
        return echoes[spec.tier]

    def memory(swapper: SwapController) -> Memory:
        held = sum(slot.size_bytes for ladder in swapper._ladders for slot in ladder.slots if slot.held is not None)
        return Memory(used_bytes=(100 if both_fit else 500) + held, limit_bytes=LIMIT)

    return writing_pair(root, load=load, memory=memory, light_budget=0.05 if both_fit else 0.0, echoes=echoes)


async def echoed(mesh: TextMesh) -> int:
    """Who wrote PROMPT back, to its last word."""
    call = mesh.ask(PROMPT)
    assert await call.ended() == PROMPT.strip()
    assert call.last.tokens == 80
    return call.messages[0].tier


async def test_a_swap_there_and_back_fails_no_text(tmp_path: Path) -> None:
    async with swapping(tmp_path) as made:

        async def story() -> None:
            await until(lambda: made.wrote.total() >= 8)
            await made.reach(COPIES, {LIGHT: READY})
            before = made.wrote[tier_pb2.TIER_LIGHT]
            await until(lambda: made.wrote[tier_pb2.TIER_LIGHT] >= before + 8)
            await made.reach(FULL_SERVICE, {FULL: READY})
            await asyncio.sleep(0.1)

        await made.under_load(echoed, story)
        assert made.wrote.keys() == {tier_pb2.TIER_FULL, tier_pb2.TIER_LIGHT}
        assert made.mesh.outcomes() == {"ok": made.wrote.total()}
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

        await made.under_load(echoed, story)
        assert made.mesh.outcomes() == {"ok": made.wrote.total()}


async def test_where_only_one_fits_texts_that_come_between_wait_for_the_copy(tmp_path: Path) -> None:
    async with swapping(tmp_path, both_fit=False) as made:
        assert made.states() == {FULL: READY}
        long = made.mesh.ask("word " * 2_000)
        await long.begun()
        await made.reach(COPIES, {LIGHT: READY})
        await long.ended()
        assert long.last.tokens == 2_000
        assert await made.mesh.ask(PROMPT).ended() == PROMPT.strip()
