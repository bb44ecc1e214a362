"""A generator that speaks to a fake server, and what is heard of it."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sluice.domain.enums import Tier
from sluice.engine.openai.generator import OpenAIGenerator
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.execution.generator import Chunk, GenerationRequest
from sluice.worker.execution.openai_config import OpenAIServer
from tests.unit.openai.fake_server import TIMEOUT_S


def server_at(url: str, **settings: Any) -> OpenAIServer:
    return OpenAIServer(url=url, **{"model": "there", **settings})


def generator_at(url: str, **settings: Any) -> OpenAIGenerator:
    spec = ModelSpec(model="chat", tier=Tier.FULL, checkpoint=Path("there"))
    return OpenAIGenerator(spec, server_at(url, **settings))


class Heard:
    """The pieces of all texts, in the order in which they were heard."""

    def __init__(self, generator: OpenAIGenerator) -> None:
        self.generator = generator
        self.all: list[Chunk] = []
        self._pieces: queue.SimpleQueue[Chunk] = queue.SimpleQueue()

    def hear(self, pieces: Sequence[Chunk]) -> None:
        for piece in pieces:
            self._pieces.put(piece)

    def next(self) -> Chunk:
        """The next piece of any text."""
        piece = self._pieces.get(timeout=TIMEOUT_S)
        self.all.append(piece)
        return piece

    def last(self, key: int = 1) -> Chunk:
        """The last piece of a text."""
        while not (piece := self.next()).is_last or piece.key != key:
            pass
        return piece

    def text(self, key: int = 1) -> str:
        """All that was heard of a text."""
        return "".join(piece.text for piece in self.all if piece.key == key)

    def write(self, key: int = 1, **options: Any) -> Chunk:
        """The last piece of a text that is written now."""
        self.generator.begin(key, prompt(**options))
        return self.last(key)


def prompt(**options: Any) -> GenerationRequest:
    return GenerationRequest(**{"text": "Once", "max_new_tokens": 16, **options})


@contextmanager
def started(url: str, *, warm: bool = True, **settings: Any) -> Iterator[Heard]:
    """A generator at work; without `warm` it knows the common fields only."""
    generator = generator_at(url, **settings)
    if warm:
        generator.warm_up()
    heard = Heard(generator)
    generator.start(heard.hear)
    try:
        yield heard
    finally:
        generator.close()
