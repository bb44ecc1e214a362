"""What the models of one run learn with: messages, and the tokenizer that reads them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from sluice.training import corpus
from sluice.training.dataset import Tick
from sluice.training.grammar import Message
from sluice.training.tokenizer import train_tokenizer


class Material:
    """Messages are written when they are first asked for, and once; `announce` gives what to tell of their writing."""

    def __init__(self, seed: int, *, scale: float, workers: int, announce: Callable[[str], Tick]) -> None:
        self._seed = seed
        self._scale = scale
        self._workers = workers
        self._announce = announce
        self._written = cache(self._write)

    def for_model(self, teacher: Path | None) -> tuple[list[Message], Any]:
        """Returns messages and tokenizer: those of its own, or fresh ones and the tokenizer in directory `teacher`."""
        if teacher is not None:
            return self._written(corpus.FRESH), AutoTokenizer.from_pretrained(teacher, local_files_only=True)
        messages = self._written(0)
        return messages, train_tokenizer(message.text for message in messages[: corpus.TOKENIZER_MESSAGES])

    def _write(self, fresh: int) -> list[Message]:
        tick = self._announce("writing fresh texts" if fresh else "writing texts")
        return corpus.train(self._seed + fresh, scale=self._scale, workers=self._workers, tick=tick)
