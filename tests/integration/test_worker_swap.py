"""Level 2 with real checkpoints and a live router: nobody who asks may notice a swap but by the tier that answers."""

from __future__ import annotations

import asyncio
import random
import shutil
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from services.gpu_worker.load import load
from sluice.domain.enums import Tier
from sluice.worker.models.swap_policy import FULL_SERVICE
from tests.integration.live_worker import working
from tests.integration.swapping_worker import FULL, LIGHT, MODEL, MODELS, swapping
from tests.unit.worker.ram import COPIES, READY, SOME_COPIES, UNLOADING

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(find_spec("torch") is None, reason="the worker extra is not installed"),
    pytest.mark.timeout(180),
]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Checkpoints that a test may spoil."""
    for name in ("support-intent-full", "support-intent-light"):
        shutil.copytree(MODELS / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("light_budget", [0.05, 0.0], ids=["kept in memory", "loaded on demand"])
async def test_swaps_under_load_fail_no_request(light_budget: float) -> None:
    async with swapping(light_budget=light_budget) as made:

        async def story() -> None:
            for _ in range(2):
                await made.reach(COPIES, {LIGHT: READY})
                await asyncio.sleep(0.3)
                await made.reach(FULL_SERVICE, {FULL: READY})
                await asyncio.sleep(0.3)

        await made.under_load(story, at_least=500)
        assert made.outcomes.keys() == {"full", "light"}, made.outcomes
        assert made.wrong < 0.1 * made.outcomes.total()
        assert all(READY in states.values() for states in made.seen)


async def test_where_both_do_not_fit_a_cpu_worker_fills_the_gap_and_no_request_fails() -> None:
    async with working(MODELS, load=partial(load, device_name="cpu")) as beside:
        await beside.bench.catalog.load(model=MODEL, tier=Tier.LIGHT, checkpoint="support-intent-light")
        async with swapping(MODELS, beside, light_budget=0.0) as made:
            made.room = sum(made.sizes) - 1

            async def story() -> None:
                await made.reach(COPIES, {LIGHT: READY})
                await asyncio.sleep(1.0)
                await made.reach(FULL_SERVICE, {FULL: READY})
                await asyncio.sleep(0.3)

            await made.under_load(story, at_least=300)
            assert made.seen == [{FULL: UNLOADING}, {}, {LIGHT: READY}, {LIGHT: UNLOADING}, {}, {FULL: READY}]
            assert made.outcomes.keys() == {"full", "light"}, made.outcomes


async def test_with_a_share_both_serve(models: Path) -> None:
    async with swapping(models) as made:

        async def story() -> None:
            await made.reach(SOME_COPIES, {FULL: READY, LIGHT: READY})
            await asyncio.sleep(0.2)
            made.room = sum(made.sizes) - 1
            await made.reach(SOME_COPIES, {LIGHT: READY})

        await made.under_load(story, at_least=300)
        assert made.outcomes.keys() <= {"full", "light"}, made.outcomes


async def test_a_copy_whose_file_was_damaged_is_rolled_back_and_nobody_notices(models: Path) -> None:
    async with swapping(models, light_budget=0.0) as made:
        weights = models / "support-intent-light" / "model.safetensors"
        whole = weights.read_bytes()
        weights.write_bytes(whole[: len(whole) // 2])

        async def story() -> None:
            made.wish = COPIES
            assert "model.safetensors" in await made.trouble()
            await asyncio.sleep(0.5)

        await made.under_load(story, at_least=300)
        assert made.outcomes.keys() == {"full"}, made.outcomes
        assert made.seen == []


async def test_a_copy_with_other_labels_is_rolled_back(models: Path) -> None:
    async with swapping(models, light_budget=0.0) as made:
        config = models / "support-intent-light" / "config.json"
        config.write_text(config.read_text(encoding="utf-8").replace("cancel_order", "sing_a_song"), encoding="utf-8")
        made.wish = COPIES
        assert "their labels differ in cancel_order, sing_a_song" in await made.trouble()
        assert made.states() == {FULL: READY}


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_directive_that_flaps_under_load_fails_no_request(seed: int) -> None:
    dice = random.Random(seed)
    async with swapping() as made:

        async def story() -> None:
            for _ in range(60):
                made.wish = dice.choice([FULL_SERVICE, SOME_COPIES, COPIES])
                await asyncio.sleep(dice.random() * 0.2)
            await made.reach(FULL_SERVICE, {FULL: READY})

        await made.under_load(story, at_least=500)
        assert made.outcomes.keys() <= {"full", "light"}, made.outcomes
        assert all(READY in states.values() for states in made.seen)
