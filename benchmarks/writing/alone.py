"""What the engine writes by itself, without a mesh."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import torch

from benchmarks.figure import Figure, Target
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.meter import meter_of
from benchmarks.writing.crowd import Crowd
from benchmarks.writing.kernels import kernels
from benchmarks.writing.model import SPEC, generator_of
from benchmarks.writing.scale import Scale, scale_of
from benchmarks.writing.step_clock import StepClock
from benchmarks.writing.vocabulary import words
from sluice.engine.generation.engine import GenerationEngine
from sluice.worker.execution.generator import Chunk, GenerationRequest, OnChunks

TIMEOUT_S = 120.0
LONE_PROMPT, LONE_TOKENS = 64, 256
ROUNDS = 2
LONG_EVERY = 20
# How the many are drawn besides; the first of two rounds captures graphs.
DRAWN: Mapping[str, Mapping[str, float]] = {
    "drawn": {"temperature": 0.8},
    "drawn_from_the_top": {"temperature": 0.8, "top_p": 0.95},
}
LIMIT = "one step reads 3.1 GB of weights: at 4.2 TB/s 0.74 ms, so 1,350 tokens/s for a lone text"


def measure(bench: Bench) -> list[Figure]:
    """All figures."""
    scale = scale_of(smoke=bench.smoke)
    compiles = bench.graphs and bench.device.type != "cpu"
    with (
        meter_of(bench.device).limited(scale.budget_bytes),
        closing(generator_of(SPEC, scale, bench.device, compiles=compiles)) as generator,
    ):
        bench.tell("warming up")
        begun_at = time.perf_counter()
        generator.warm_up()
        found = {"warm_up_s": time.perf_counter() - begun_at} | Alone(generator, scale).play(bench)
    return list(_figures(scale, found))


class Alone:
    """`generator` is warm, and nobody else's."""

    def __init__(self, generator: GenerationEngine, scale: Scale) -> None:
        self._generator = generator
        self._scale = scale
        self._clock = StepClock(generator)
        self._hear: OnChunks | None = None
        generator.start(self._pass_on)

    def play(self, bench: Bench) -> dict[str, Any]:
        """Write one text, many, long ones among short ones, and as many as there will be streams."""
        scale, dice, vocabulary = self._scale, random.Random(1), words(500)
        lone_tokens = min(LONE_TOKENS, 16 * scale.new_tokens)
        found: dict[str, Any] = {}

        def lone() -> list[str]:
            return [_text(vocabulary, LONE_PROMPT, dice)]

        def many() -> list[str]:
            return [_text(vocabulary, dice.randint(*scale.prompt_tokens), dice) for _ in range(scale.many)]

        # New texts each time: what was read before would be remembered.
        bench.tell("one text")
        found["lone"] = [self._write(lone(), lone_tokens) for _ in range(ROUNDS)]
        found["lone_device"] = self._lone_device(lone()[0])
        bench.tell(f"{scale.many} texts")
        found["many"] = [self._write(many(), scale.new_tokens) for _ in range(ROUNDS)]
        for name, drawn in DRAWN.items():
            found[name] = [self._write(many(), scale.new_tokens, **drawn) for _ in range(ROUNDS)]
        bench.tell("long texts among short ones")
        lengths = [
            scale.long_tokens if place % LONG_EVERY == 0 else dice.randint(*scale.prompt_tokens)
            for place in range(scale.mixed)
        ]
        mixed = [_text(vocabulary, length, dice) for length in lengths]
        found["mixed"] = [self._write(mixed, scale.new_tokens)]
        bench.tell(f"{scale.streams} texts")
        found["crowd"] = self._crowd(vocabulary)
        return found

    def _pass_on(self, pieces: Sequence[Chunk]) -> None:
        if self._hear is not None:
            self._hear(pieces)

    def _write(self, texts: Sequence[str], new_tokens: int, **drawn: float) -> dict[str, Any]:
        """Write on from all `texts` at once, and say how that went."""
        ended, tokens, lost = threading.Event(), 0, 0
        first_s: dict[int, float] = {}
        left = len(texts)
        begun_at = time.perf_counter()

        def hear(pieces: Sequence[Chunk]) -> None:
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
            self._generator.begin(key, GenerationRequest(text=text, max_new_tokens=new_tokens, **drawn))
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
        self._generator.begin(0, GenerationRequest(text=text, max_new_tokens=self._scale.text_tokens // 2))
        time.sleep(self._scale.window_s / 50)
        found = kernels(self._scale.window_s / 50)
        self._generator.cancel(0)
        over.wait(TIMEOUT_S)
        return found

    def _crowd(self, vocabulary: Sequence[str]) -> dict[str, Any]:
        """Keep as many texts open as streams later, and say where a step's time goes."""
        crowd = Crowd(self._generator, self._scale, vocabulary)
        self._hear = crowd.hear
        crowd.gather()
        time.sleep(self._scale.warm_s / 2)
        self._clock.clear()
        before, begun_at = crowd.tokens, time.perf_counter()
        time.sleep(self._scale.window_s / 5)
        found = {
            "tokens_per_s": (crowd.tokens - before) / (time.perf_counter() - begun_at),
            "turns_of_the_loop": self._clock.content(),
            "device": kernels(self._scale.window_s / 25),
        }
        crowd.disperse()
        return found


def _text(vocabulary: Sequence[str], tokens: int, dice: random.Random) -> str:
    return " ".join(dice.choices(vocabulary, k=tokens))


def _figures(scale: Scale, found: dict[str, Any]) -> Iterator[Figure]:
    lone = statistics.median(one["tokens_per_s"] for one in found["lone"])
    many = statistics.median(one["tokens_per_s"] for one in found["many"])
    (mixed,) = found["mixed"]
    low, high = scale.prompt_tokens
    yield Figure(
        what="tokens per second, one text",
        target=Target(300),
        measured=lone,
        how="the engine by itself, 64 tokens of prompt, greedy, bf16, prompts read and text made; " + LIMIT,
        spread=_spread([one["tokens_per_s"] for one in found["lone"]]),
        notes={"runs": found["lone"], "warm_up_s": round(found["warm_up_s"], 1), "device": found["lone_device"]},
    )
    yield Figure(
        what=f"tokens per second, {scale.many} prompts of {low} to {high} tokens, {scale.new_tokens} new",
        target=Target(15_000),
        measured=many,
        how="as above, all prompts at once, from the first prompt to the last token",
        spread=_spread([one["tokens_per_s"] for one in found["many"]]),
        notes={"runs": found["many"]},
    )
    for name, drawn in DRAWN.items():
        yield Figure(
            what=f"tokens per second, the same, {' and '.join(f'{key} {value}' for key, value in drawn.items())}",
            target=None,
            measured=max(one["tokens_per_s"] for one in found[name]),
            how="as above, the better of two runs: the first one captures graphs",
            notes={"runs": found[name]},
        )
    if mixed["peak_gb"] is not None:
        yield Figure(
            what=f"peak memory, {scale.mixed} texts of which every twentieth has {scale.long_tokens} tokens, GB",
            target=Target(scale.budget_gb, at_most=True),
            measured=mixed["peak_gb"],
            how=f"as above; the allocator is limited to {scale.budget_gb:g} GB, {scale.cache_gb:g} of it for texts",
            notes={"runs": found["mixed"]},
        )
    yield Figure(
        what="texts lost in that mix",
        target=Target(0, at_most=True),
        measured=mixed["lost"],
        how="as above",
    )
    yield Figure(
        what=f"tokens per second, {scale.streams} texts open all the time, without the mesh",
        target=None,
        measured=found["crowd"]["tokens_per_s"],
        how="as above, each text followed by another when it ends",
        notes={name: found["crowd"][name] for name in ("turns_of_the_loop", "device")},
    )


def _spread(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)
