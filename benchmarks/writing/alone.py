"""What the engine writes by itself, in the worker's process and before it serves anybody."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from benchmarks.writing.crowd import Crowd
from benchmarks.writing.kernels import kernels
from benchmarks.writing.scale import Scale
from benchmarks.writing.step_clock import StepClock
from benchmarks.writing.vocabulary import words
from sluice.engine.generation.generator import ContinuousGenerator
from sluice.worker.generator import Hear, Piece, Prompt

TIMEOUT_S = 120.0
LONE_PROMPT, LONE_TOKENS = 64, 256
ROUNDS = 2
LONG_EVERY = 20
# How the many are drawn besides; the first of two rounds captures graphs.
DRAWN: Mapping[str, Mapping[str, float]] = {
    "drawn": {"temperature": 0.8},
    "drawn_from_the_top": {"temperature": 0.8, "top_p": 0.95},
}


Told = Callable[[dict[str, Any], StepClock], None]


class Measured:
    """`generator`, measured at the end of its warm-up; `told` is given what was found, and the clock of its loop."""

    def __init__(
        self, generator: ContinuousGenerator, scale: Scale, told: Callable[[dict[str, Any], StepClock], None]
    ) -> None:
        self._generator = generator
        self._scale = scale
        self._told = told
        self._hear: Hear | None = None
        self.variant = generator.variant

    @property
    def busy_s(self) -> float:
        """As the generator's."""
        return self._generator.busy_s

    def warm_up(self) -> None:
        """Warm up, then measure."""
        begun_at = time.perf_counter()
        self._generator.warm_up()
        found: dict[str, Any] = {"warm_up_s": time.perf_counter() - begun_at}
        clock = StepClock(self._generator)
        self._generator.start(self._pass_on)
        scale, dice = self._scale, random.Random(1)
        vocabulary = words(500)
        lone_tokens = min(LONE_TOKENS, 16 * scale.new_tokens)

        def lone() -> list[str]:
            return [_text(vocabulary, LONE_PROMPT, dice)]

        def many() -> list[str]:
            return [_text(vocabulary, dice.randint(*scale.prompt_tokens), dice) for _ in range(scale.many)]

        # New texts each time: what was read before would be remembered.
        found["lone"] = [self._write(lone(), lone_tokens) for _ in range(ROUNDS)]
        found["lone_device"] = self._lone_device(lone()[0])
        found["many"] = [self._write(many(), scale.new_tokens) for _ in range(ROUNDS)]
        for name, drawn in DRAWN.items():
            found[name] = [self._write(many(), scale.new_tokens, **drawn) for _ in range(ROUNDS)]
        lengths = [
            scale.long_tokens if place % LONG_EVERY == 0 else dice.randint(*scale.prompt_tokens)
            for place in range(scale.mixed)
        ]
        mixed = [_text(vocabulary, length, dice) for length in lengths]
        found["mixed"] = [self._write(mixed, scale.new_tokens)]
        found["crowd"] = self._crowd(clock, vocabulary)
        self._told(found, clock)

    def start(self, hear: Hear) -> None:
        """The generator runs already; from now on `hear` is told."""
        self._hear = hear

    def begin(self, key: int, prompt: Prompt) -> None:
        """As the generator."""
        self._generator.begin(key, prompt)

    def cancel(self, key: int) -> None:
        """As the generator."""
        self._generator.cancel(key)

    def close(self) -> None:
        """As the generator."""
        self._generator.close()

    def _pass_on(self, pieces: Sequence[Piece]) -> None:
        if self._hear is not None:
            self._hear(pieces)

    def _write(self, texts: Sequence[str], new_tokens: int, **drawn: float) -> dict[str, Any]:
        """Write on from all `texts` at once, and say how that went."""
        ended, tokens, lost = threading.Event(), 0, 0
        first_s: dict[int, float] = {}
        left = len(texts)
        begun_at = time.perf_counter()

        def hear(pieces: Sequence[Piece]) -> None:
            nonlocal tokens, lost, left
            now_s = time.perf_counter() - begun_at
            for piece in pieces:
                first_s.setdefault(piece.key, now_s)
                if piece.is_last:
                    tokens += piece.tokens
                    lost += piece.error is not None
                    left -= 1
            if not left:
                ended.set()

        self._hear = hear
        accelerated = torch.accelerator.is_available()
        if accelerated:
            torch.accelerator.reset_peak_memory_stats()
        for key, text in enumerate(texts):
            self._generator.begin(key, Prompt(text=text, max_new_tokens=new_tokens, **drawn))
        ended.wait(TIMEOUT_S)
        elapsed_s = time.perf_counter() - begun_at
        return {
            "texts": len(texts),
            "lost": lost + left,
            "tokens": tokens,
            "tokens_per_s": tokens / elapsed_s,
            "first_token_s": sorted(first_s.values())[len(first_s) // 2] if first_s else None,
            "peak_gb": torch.accelerator.max_memory_allocated() / 1e9 if accelerated else None,
        }

    def _lone_device(self, text: str) -> dict[str, Any]:
        """What the device does while it writes one text, which is cancelled then."""
        over = threading.Event()
        self._hear = lambda pieces: over.set() if any(piece.is_last for piece in pieces) else None
        self._generator.begin(0, Prompt(text=text, max_new_tokens=self._scale.text_tokens // 2))
        time.sleep(self._scale.window_s / 50)
        found = kernels(self._scale.window_s / 50)
        self._generator.cancel(0)
        over.wait(TIMEOUT_S)
        return found

    def _crowd(self, clock: StepClock, vocabulary: Sequence[str]) -> dict[str, Any]:
        """Keep as many texts open as streams later, and say where a step's time goes."""
        crowd = Crowd(self._generator, self._scale, vocabulary)
        self._hear = crowd.hear
        crowd.gather()
        time.sleep(self._scale.warm_s / 2)
        clock.clear()
        before, begun_at = crowd.tokens, time.perf_counter()
        time.sleep(self._scale.window_s / 5)
        found = {
            "tokens_per_s": (crowd.tokens - before) / (time.perf_counter() - begun_at),
            "turns_of_the_loop": clock.content(),
            "device": kernels(self._scale.window_s / 25),
        }
        crowd.disperse()
        return found


def _text(vocabulary: Sequence[str], tokens: int, dice: random.Random) -> str:
    return " ".join(dice.choices(vocabulary, k=tokens))
