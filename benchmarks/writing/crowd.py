"""Texts that are kept open at a generator: as soon as one has ended the next is begun."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Sequence

from benchmarks.writing.scale import Scale
from sluice.worker.execution.generator import Chunk, GenerationEngine, GenerationRequest

TIMEOUT_S = 60.0


class Crowd:
    """`scale.streams` texts of words of `vocabulary`; `hear` is the generator's to call. `tokens` counts what came."""

    def __init__(self, generator: GenerationEngine, scale: Scale, vocabulary: Sequence[str]) -> None:
        self.tokens = 0
        self._generator = generator
        self._scale = scale
        self._vocabulary = vocabulary
        self._dice = random.Random(2)
        self._keys = itertools.count()
        self._seen: dict[int, int] = {}
        self._is_over = False
        self._gone = threading.Event()

    def gather(self) -> None:
        """Begin all. What is begun at once must not end at once, so the first ones differ in length."""
        for _ in range(self._scale.streams):
            self._begin(self._dice.randint(1, self._scale.new_tokens))

    def hear(self, pieces: Sequence[Chunk]) -> None:
        """What a step wrote."""
        for piece in pieces:
            if piece.key not in self._seen:
                continue
            self.tokens += piece.tokens - self._seen[piece.key]
            self._seen[piece.key] = piece.tokens
            if piece.is_last:
                del self._seen[piece.key]
                if not self._is_over:
                    self._begin(self._scale.new_tokens)
        if self._is_over and not self._seen:
            self._gone.set()

    def disperse(self) -> None:
        """Begin no more, and wait for the end of those that are open. Raises TimeoutError if it does not come."""
        self._is_over = True
        if not self._gone.wait(TIMEOUT_S):
            raise TimeoutError(f"{len(self._seen)} texts did not end")

    def _begin(self, new_tokens: int) -> None:
        key = next(self._keys)
        self._seen[key] = 0
        words = self._dice.choices(self._vocabulary, k=self._dice.randint(*self._scale.prompt_tokens))
        self._generator.begin(key, GenerationRequest(text=" ".join(words), max_new_tokens=new_tokens))
