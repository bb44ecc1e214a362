"""Generators over tiny checkpoints, and what transformers writes for the same prompt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from sluice.domain.enums import Task, Tier
from sluice.engine.checkpoint.checkpoint import open_checkpoint
from sluice.engine.checkpoint.model import load_model
from sluice.engine.generation.engine import GenerationEngine
from sluice.engine.generation.kv_cache import KVCacheConfig
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.execution.generator import GenerationRequest
from tests.unit.engine import tiny
from tests.unit.engine.generation.ear import Ear
from tests.unit.polling import LIMIT_S, POLL_S

PAGE = 16


class Desk:
    """A generator at work, and who listens to it."""

    def __init__(self, generator: GenerationEngine) -> None:
        self.generator = generator
        self.writer = generator._writer
        self.ear = Ear()

    @property
    def scheduler(self) -> Any:
        return self.writer.batch_processor.scheduler

    def begin(self, key: int, text: str = "where is my parcel?", tokens: int = 20, **fields: Any) -> None:
        self.generator.begin(key, GenerationRequest(text=text, max_new_tokens=tokens, **fields))

    def text(self, key: int, text: str = "where is my parcel?", tokens: int = 20, **fields: Any) -> str:
        """Write a text, and wait for it."""
        self.begin(key, text, tokens, **fields)
        return self.ear.text(key)


def generator_of(
    checkpoint: Path, *, texts: int = 8, pages: int = 64, spoil: Any = None, compiles: bool = False
) -> GenerationEngine:
    """A generator that is not warm; `spoil` does something to its model before."""
    opened = open_checkpoint(checkpoint)
    model = _model(checkpoint)
    if spoil is not None:
        spoil(model)
    shape = KVCacheConfig(
        texts=texts,
        text_tokens=min(opened.max_tokens, PAGE * pages),
        page=PAGE,
        pages=pages,
        batch_tokens=64,
    )
    spec = ModelSpec(model="chat", tier=Tier.FULL, checkpoint=checkpoint)
    return GenerationEngine(spec, opened, model, shape, precision="fp32", compiles=compiles)


@contextmanager
def desk(checkpoint: Path, **options: Any) -> Iterator[Desk]:
    """A desk with a generator of these options, closed in the end."""
    generator = generator_of(checkpoint, **options)
    made = Desk(generator)
    generator.warm_up()
    generator.start(made.ear)
    try:
        yield made
    finally:
        if not generator._is_closed:
            generator.close()
        assert made.ear.too_late == []


def generated(checkpoint: Path, prompt: Sequence[int], tokens: int) -> list[int]:
    """What `generate` writes on greedily from these tokens."""
    ids = torch.tensor([prompt])
    out = _model(checkpoint).generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False)
    new: list[int] = out[0, len(prompt) :].tolist()
    return new


def written(checkpoint: Path, text: str, tokens: int) -> tuple[str, int]:
    """What `generate` writes for a text without a template, as text, and how many tokens that are."""
    words = tiny.tokenizer()
    new = generated(checkpoint, words(text)["input_ids"], tokens)
    return str(words.decode(new, skip_special_tokens=True)), len(new)


def until(condition: Callable[[], object]) -> None:
    """Return when `condition` holds, which it must soon."""
    for _ in range(int(LIMIT_S / POLL_S)):
        if condition():
            return
        time.sleep(POLL_S)
    raise AssertionError("it never came to that")


def _model(checkpoint: Path) -> Any:
    return load_model(checkpoint, dtype=torch.float32, task=Task.TEXT_GENERATION)
