"""The largest batch that fits into the memory in which fp32 takes 32 prompts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.figure import Figure, Target
from benchmarks.gpu.arithmetic import fp32_products
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.meter import Meter, meter_of
from benchmarks.gpu.qwen import make_model
from benchmarks.gpu.steps import prefill

TARGET = Target(4.0)
BATCH, TOKENS = 32, 512
SMOKE_BATCH, SMOKE_TOKENS = 4, 16
MOST = 1024
"""No larger batch is tried."""
HOW = (
    "the budget is what torch holds of the device at most for a prefill in fp32 of 32 prompts of 512 tokens: weights, "
    "cache and all, in segments that grow; under it, enforced by the allocator, each side's largest batch is found by "
    "doubling and bisection. "
    "Both compute logits of last tokens only. Weights and activations halve, so what the weights leave of the budget "
    "grows, and each prompt takes less of it: the ratio falls towards the latter alone as the budget grows"
)


def measure(bench: Bench) -> list[Figure]:
    """Mixed's largest batch as a multiple of fp32's; the notes tell what makes the difference."""
    meter = meter_of(bench.device)
    with meter.watching(), fp32_products("ieee"):
        fp32 = _Side(bench, meter, "fp32")
        budget = fp32.held(SMOKE_BATCH if bench.smoke else BATCH)
        fp32_batch, fp32_notes = fp32.largest(budget), fp32.notes()
        del fp32
        mixed = _Side(bench, meter, "mixed")
        mixed_batch, mixed_notes = mixed.largest(budget), mixed.notes()
    return [
        Figure(
            what="largest batch in fp32's memory for 32 prompts of 512 tokens, mixed / fp32",
            target=TARGET,
            measured=mixed_batch / fp32_batch,
            how=HOW,
            medians={"fp32_batch": fp32_batch, "mixed_batch": mixed_batch, "budget_mib": budget / 2**20},
            notes={"fp32": fp32_notes, "mixed": mixed_notes},
        )
    ]


def largest(fits: Callable[[int], bool], *, most: int) -> int:
    """The largest number from 1 to `most` that fits, if all below it do; 0 if none does."""
    good, bad = 0, 1
    while bad <= most and fits(bad):
        good, bad = bad, 2 * bad
    bad = min(bad, most + 1)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


class _Side:
    """One of the two models, the only one on the device."""

    def __init__(self, bench: Bench, meter: Meter, precision: str) -> None:
        bench.tell(f"largest batch in {precision}")
        self._meter = meter
        self._tokens = SMOKE_TOKENS if bench.smoke else TOKENS
        before = meter.allocated()
        self._model: Any = make_model(bench, precision)
        self._weights = meter.allocated() - before

    def held(self, batch: int) -> int:
        """Bytes that are held of the device at most for a batch."""
        return self._meter.peak(self._step(batch))[1]

    def largest(self, budget: int) -> int:
        """The largest batch in so many bytes."""
        with self._meter.limited(budget):
            return largest(self._fits, most=MOST)

    def notes(self) -> dict[str, float]:
        """MiB of the weights, and of each prompt more, as two batches tell."""
        small, large = (self._meter.peak(self._step(batch))[0] for batch in (2, 4))
        return {"weights_mib": round(self._weights / 2**20, 1), "prompt_mib": round((large - small) / 2 / 2**20, 2)}

    def _step(self, batch: int) -> Callable[[], object]:
        return prefill(self._model, batch, self._tokens)

    def _fits(self, batch: int) -> bool:
        try:
            self._meter.peak(self._step(batch))
        except torch.OutOfMemoryError:
            return False
        return True
