"""Generators for tests: one that writes what the test says, and benches that hold one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from sluice.domain.enums import Task, Tier
from sluice.domain.errors import Cancelled
from sluice.domain.variant import Variant, variant_id
from sluice.testing.echo import EchoGenerator
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.execution.generator import Chunk, FinishReason, GenerationEngine, GenerationRequest, OnChunks
from sluice.worker.models.registry import ECHO
from tests.unit.worker.bench import Bench, bench

WRITES = "m/full-fp32"


class ScriptedGenerator:
    """Writes what `say` says. Texts in `prompts` are open, by key; a cancelled one ends at once."""

    def __init__(self, spec: ModelSpec) -> None:
        self.variant = Variant(
            id=variant_id(spec.model, spec.tier, "fp32"), model=spec.model, tier=spec.tier, task=Task.TEXT_GENERATION
        )
        self.busy_s = 0.0
        self.prompts: dict[int, GenerationRequest] = {}
        self.cancelled: list[int] = []
        self.closed = 0
        self.fails_to_begin = False
        self._hear: OnChunks | None = None

    def warm_up(self) -> None:
        pass

    def start(self, hear: OnChunks) -> None:
        self._hear = hear

    def begin(self, key: int, prompt: GenerationRequest) -> None:
        if self.fails_to_begin:
            raise RuntimeError("out of ink")
        self.prompts[key] = prompt

    def cancel(self, key: int) -> None:
        self.cancelled.append(key)
        if key in self.prompts:
            self.say(Chunk(key=key, error=Cancelled("cancelled")))

    def close(self) -> None:
        self.closed += 1

    def say(self, *pieces: Chunk) -> None:
        """One step of the device."""
        for piece in pieces:
            if piece.is_last:
                self.prompts.pop(piece.key, None)
        assert self._hear is not None
        self._hear(pieces)

    def key_of(self, text: str) -> int:
        """The key of the open text whose prompt is `text`."""
        return next(key for key, prompt in self.prompts.items() if prompt.text == text)


def word(key: int, text: str, *, tokens: int = 1, finish: FinishReason | None = None) -> Chunk:
    """A piece of a text whose prompt has three tokens."""
    return Chunk(key=key, text=text, tokens=tokens, prompt_tokens=3, finish=finish)


@asynccontextmanager
async def scribe(make: Callable[[ModelSpec], GenerationEngine] = ScriptedGenerator) -> AsyncIterator[tuple[Bench, Any]]:
    """A bench that holds generator `m/full-fp32`, and the generator."""
    made: list[GenerationEngine] = []

    def load(spec: ModelSpec) -> GenerationEngine:
        made.append(make(spec))
        return made[-1]

    async with bench(load=load) as held:
        await held.catalog.load(model="m", tier=Tier.FULL, checkpoint=ECHO)
        try:
            yield held, made[0]
        finally:
            await held.catalog.close()


def echo_of(**options: Any) -> Callable[[ModelSpec], EchoGenerator]:
    """A loader of echoes with these options."""
    return lambda spec: EchoGenerator(spec, **options)
