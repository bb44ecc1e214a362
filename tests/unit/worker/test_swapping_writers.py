"""Level 2 for models that write: texts end where they were begun, and new ones go to the copy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sluice.domain.enums import Task, Tier
from sluice.domain.errors import InvalidRequest, WorkerFailed
from sluice.testing.echo import EchoGenerator
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.execution.generation_runner import ActiveGeneration, GenerationRunner
from sluice.worker.execution.generator import Chunk, FinishReason, GenerationRequest
from sluice.worker.models.compatibility import signature_of
from sluice.worker.models.swap_controller import SwapController
from sluice.worker.models.swap_policy import FULL_SERVICE
from sluice.worker.resources.aggregate import BusyRatio
from sluice.worker.resources.reading import Memory
from tests.unit.polling import until
from tests.unit.worker.bench import Bench, bench
from tests.unit.worker.ram import COPIES, FULL, LIGHT, LIGHT_BYTES, LIMIT, READY, UNLOADING, checkpoint, following
from tests.unit.worker.scribe import ScriptedGenerator, word


class Answering(ScriptedGenerator):
    """Ends what is tried out at once, and leaves everything else to the test. `fault` is how a trial fails."""

    def __init__(self, spec: ModelSpec, fault: WorkerFailed | None = None) -> None:
        super().__init__(spec)
        self.fault = fault
        self.tried: list[GenerationRequest] = []

    def begin(self, key: int, prompt: GenerationRequest) -> None:
        super().begin(key, prompt)
        if prompt.text.startswith("where is my order"):
            self.tried.append(prompt)
            last = Chunk(key=key, tokens=4, finish=FinishReason.LENGTH)
            self.say(last if self.fault is None else Chunk(key=key, error=self.fault))


class Story:
    """A worker with one pair of models that write, and whoever waits for their texts."""

    def __init__(self) -> None:
        self.bench: Bench
        self.generators: dict[str, list[Answering]] = {"full": [], "light": []}
        self.wish = FULL_SERVICE
        self.ended: dict[str, Chunk] = {}

    def load(self, spec: ModelSpec) -> Answering:
        made = self.generators[spec.checkpoint.name]
        made.append(Answering(spec))
        return made[-1]

    def states(self) -> dict[str, str]:
        return {variant.id: variant.state.name for variant in self.bench.catalog.variants()}

    def begin(self, variant_id: str, text: str) -> ActiveGeneration:
        writing = ActiveGeneration(
            number=1,
            variant_id=variant_id,
            prompt=GenerationRequest(text=text, max_new_tokens=9),
            owner=self,
            taken_at=0.0,
        )
        self.bench.catalog.writer(variant_id).begin(writing)
        return writing

    def hear(self, heard: Sequence[tuple[ActiveGeneration, Chunk]]) -> None:
        self.ended.update({writing.prompt.text: piece for writing, piece in heard if piece.is_last})


@asynccontextmanager
async def story(root: Path) -> AsyncIterator[Story]:
    checkpoint(root / "full", 400)
    checkpoint(root / "light", LIGHT_BYTES)
    told = Story()
    async with bench(load=told.load, root=root) as told.bench:
        catalog = told.bench.catalog
        swapper = SwapController(
            catalog,
            wish=lambda: told.wish,
            memory=lambda: Memory(used_bytes=100, limit_bytes=LIMIT),
            ceiling=0.92,
            light_budget=0.05,
            settle_s=0.0,
        )
        spec = catalog.spec
        await swapper.add(
            spec(model="m", tier=Tier.FULL, checkpoint="full"),
            light=spec(model="m", tier=Tier.LIGHT, checkpoint="light"),
        )
        try:
            async with following(swapper):
                yield told
        finally:
            await catalog.close()


async def test_texts_end_on_the_full_model_while_the_copy_writes_the_new_ones(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        (full,), (light,) = told.generators["full"], told.generators["light"]
        told.begin(FULL, "old")
        told.wish = COPIES
        await until(lambda: told.states() == {FULL: UNLOADING, LIGHT: READY})
        told.begin(LIGHT, "new")
        light.say(word(light.key_of("new"), "b", finish=FinishReason.STOP))
        full.say(word(full.key_of("old"), "a"))
        await until(lambda: "new" in told.ended)
        assert full.closed == 0
        full.say(word(full.key_of("old"), "z", finish=FinishReason.STOP))
        await until(lambda: told.states() == {LIGHT: READY})
        assert full.closed == 1
        assert {text: piece.finish for text, piece in told.ended.items()} == {
            "old": FinishReason.STOP,
            "new": FinishReason.STOP,
        }


async def test_a_wish_that_comes_back_meanwhile_is_obeyed_when_the_texts_have_ended(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        (full,), (light,) = told.generators["full"], told.generators["light"]
        told.begin(FULL, "old")
        told.wish = COPIES
        await until(lambda: told.states() == {FULL: UNLOADING, LIGHT: READY})
        told.wish = FULL_SERVICE
        await asyncio.sleep(0.25)
        assert told.states() == {FULL: UNLOADING, LIGHT: READY}
        full.say(word(full.key_of("old"), "z", finish=FinishReason.STOP))
        await until(lambda: told.states() == {FULL: READY})
        assert len(told.generators["full"]) == 2
        # The copy stays in memory, warm.
        assert light.closed == 0


async def test_both_are_tried_out_with_a_short_text_and_a_long_one(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        (light,) = told.generators["light"]
        short, long = light.tried
        assert len(short.text) < len(long.text) <= light.variant.max_tokens
        assert 1 <= short.max_new_tokens < 16
        assert told.bench.catalog.writers.texts == 0


async def test_a_model_that_cannot_go_on_from_a_text_is_found_out_before_it_serves() -> None:
    spec = ModelSpec(model="m", tier=Tier.FULL, checkpoint=Path())
    writer = GenerationRunner(Answering(spec, WorkerFailed("no number")), asyncio.get_running_loop())
    writer.warm_up()
    with pytest.raises(InvalidRequest, match="no number"):
        signature_of(writer)
    sound = GenerationRunner(EchoGenerator(spec), asyncio.get_running_loop())
    sound.warm_up()
    seen = await asyncio.to_thread(signature_of, sound)
    sound.close()
    assert (seen.task, seen.labels, seen.width) == (Task.TEXT_GENERATION, frozenset(), 0)
    assert replace(seen, max_tokens=1) != seen


async def test_what_writers_do_counts_even_when_they_are_gone(tmp_path: Path) -> None:
    async with story(tmp_path) as told:
        (full,) = told.generators["full"]
        clock = [0.0]
        load = BusyRatio(lambda: told.bench.catalog.writers.busy_s, clock=lambda: clock[0])
        full.busy_s, clock[0] = 0.25, 0.5
        assert load.read().utilization == 0.5
        told.wish = COPIES
        await until(lambda: told.states() == {LIGHT: READY})
        assert told.bench.catalog.writers.busy_s == 0.25
