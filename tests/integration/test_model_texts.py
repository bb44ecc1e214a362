"""Texts from a real model, over router and worker: what it writes by itself, and through a swap for its copy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from services.gpu_worker.load import load
from sluice.domain.errors import InvalidRequest
from sluice.v1.tier_pb2 import TIER_FULL, TIER_LIGHT
from sluice.worker.models.swap_policy import FULL_SERVICE
from sluice.worker.resources.reading import Memory
from tests.integration.text_mesh import LENGTH, STOP, TextMesh
from tests.integration.writing_pair import FULL, LIGHT, WritingPair, writing_pair
from tests.unit.polling import until
from tests.unit.worker.ram import COPIES, READY

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(find_spec("torch") is None, reason="the worker extra is not installed"),
]
PROMPT = "where is my parcel?"
LONGEST, TOKENS = 256, 24


@asynccontextmanager
async def writing(root: Path) -> AsyncIterator[tuple[WritingPair, dict[int, str]]]:
    """A worker whose model has a copy, and what each of the two writes for PROMPT, by tier."""
    from tests.unit.engine import tiny
    from tests.unit.engine.generation.generators import written

    texts: dict[int, str] = {}
    for seed, (tier, name) in enumerate([(TIER_FULL, "full"), (TIER_LIGHT, "light")]):
        settings = {"max_position_embeddings": LONGEST, "eos_token_id": None}
        tiny.write_language_model(root / name, "deepseek_v3", seed=seed, **settings)
        texts[tier], _ = written(root / name, PROMPT, TOKENS)
    async with writing_pair(
        root,
        load=partial(load, device_name="cpu"),
        memory=lambda _: Memory(used_bytes=0, limit_bytes=1 << 40),
        precision="fp32",
    ) as made:
        yield made, texts


async def written_on(texts: dict[int, str], mesh: TextMesh) -> int:
    """Who wrote PROMPT on, as it always does."""
    call = mesh.ask(PROMPT, max_new_tokens=TOKENS)
    text = await call.ended()
    tier = call.messages[0].tier
    assert text == texts[tier], tier
    assert (call.last.tokens, call.last.finish_reason) == (TOKENS, LENGTH)
    return tier


async def test_a_text_is_the_models_own_and_one_too_long_is_the_callers_mistake(tmp_path: Path) -> None:
    async with writing(tmp_path) as (made, texts):
        assert texts[TIER_FULL] != texts[TIER_LIGHT]
        call = made.mesh.ask(PROMPT, max_new_tokens=TOKENS)
        assert await call.ended() == texts[TIER_FULL]
        assert len(call.messages) > 1
        assert call.messages[0].variant == FULL
        assert (call.last.tokens, call.last.finish_reason) == (TOKENS, LENGTH)
        assert call.last.prompt_tokens > len(PROMPT.split())
        stop = texts[TIER_FULL][6:9]
        stopped = made.mesh.ask(PROMPT, max_new_tokens=TOKENS, stop=[stop])
        assert await stopped.ended() == texts[TIER_FULL].partition(stop)[0]
        assert stopped.last.finish_reason == STOP
        error = await made.mesh.ask("q" * LONGEST).failure()
        assert isinstance(error, InvalidRequest)
        assert error.field == "prompt"
        endless = made.mesh.ask(PROMPT, max_new_tokens=10_000)
        await endless.begun()
        endless.cancel()
        await until(lambda: made.mesh.is_idle)


async def test_a_swap_there_and_back_fails_no_text(tmp_path: Path) -> None:
    async with writing(tmp_path) as (made, texts):

        async def story() -> None:
            for wish, variant, tier in ((COPIES, LIGHT, TIER_LIGHT), (FULL_SERVICE, FULL, TIER_FULL)) * 2:
                await made.reach(wish, {variant: READY}, 60)
                before = made.wrote[tier]
                await until(lambda: made.wrote[tier] > before + 6, 60)  # noqa: B023  waited for at once

        await made.under_load(partial(written_on, texts), story)
        assert made.mesh.outcomes() == {"ok": made.wrote.total()}
        await until(lambda: made.mesh.is_idle)
