"""How large, how fast and how right a model is, before and after."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sluice.compression.quality import Quality
from sluice.worker.execution.backend import Item, Output

BATCH_SIZE = 16
Execute = Callable[[Sequence[Item]], list[Output]]
"""Answers a batch, as a backend does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """`size_bytes` is that of all weights; `items_per_s` is None where nothing was evaluated."""

    precision: str
    runtime: str
    size_bytes: int
    items_per_s: float | None = None
    quality: Quality = field(default_factory=Quality)


def ask(execute: Execute, texts: Sequence[str], *, on_text: Callable[[int], None]) -> tuple[float, list[Output]]:
    """Texts per second, and the answers to all texts, in batches of BATCH_SIZE in their order; long ones are cut.

    The time includes reading the texts into tokens; of the batches' speeds the median is given, because other programs
    may hold a batch up. The first batch is asked once more beforehand, untimed.
    """
    items = [Item(text, truncate=True) for text in texts]
    execute(items[:BATCH_SIZE])
    outputs: list[Output] = []
    speeds: list[float] = []
    for start in range(0, len(items), BATCH_SIZE):
        began = time.perf_counter()
        batch = execute(items[start : start + BATCH_SIZE])
        speeds.append(len(batch) / (time.perf_counter() - began))
        outputs += batch
        on_text(len(outputs))
    return statistics.median(speeds), outputs
