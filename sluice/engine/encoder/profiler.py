"""A batch-time profile: how long a backend takes for batches of some sizes and lengths, and the memory they need."""

from __future__ import annotations

import statistics
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from sluice.domain.errors import SluiceError
from sluice.domain.variant import BatchTime, Variant
from sluice.engine.checkpoint.checkpoint import Checkpoint
from sluice.engine.peak_memory import PeakMemory
from sluice.worker.execution.backend import Backend, Item

SIZES = (1, 4, 16, 64)
LENGTHS = (16, 64, 256)
RUNS = 5
# A machine on which something waits for a processor for a larger share of the time is too busy to be measured on.
MAX_STALLED = 0.25
_WORD = "a"


@runtime_checkable
class Measurable(Backend, Protocol):
    """A backend that says which checkpoint it computes, by which library, and on how many threads of the CPU."""

    checkpoint: Checkpoint
    threads: int
    runtime: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Measured points, and by how many bytes resident memory peaked above its start meanwhile, if that is known."""

    points: tuple[BatchTime, ...]
    memory_bytes: int | None = None
    stalled: float = 0.0
    """The share of the time, in [0, 1], in which something on the machine waited for a processor meanwhile."""

    @property
    def is_trusted(self) -> bool:
        """Whether the machine was quiet enough that the times are the device's."""
        return self.stalled <= MAX_STALLED

    def widened(self) -> Profile:
        """With deviations that admit how busy the machine was."""
        if self.is_trusted:
            return self
        points = (replace(one, deviation_s=max(one.deviation_s, one.time_s * self.stalled)) for one in self.points)
        return replace(self, points=tuple(points))


def measure(backend: Measurable, *, seconds: float, clock: Callable[[], float] = time.perf_counter) -> Profile:
    """Measure the batches of SIZES and LENGTHS that the variant takes, cheapest first, for about `seconds`.

    A point is the median of up to RUNS runs behind one that is not counted, with the mean absolute deviation from it.
    What would not fit into the time that is left, by the time per token of the point before, is not begun, and nothing
    larger than what did not fit into memory.
    """
    end = clock() + seconds
    memory = PeakMemory()
    points: list[BatchTime] = []
    token_s = 0.0
    for size, text, length in _batches(backend.variant, backend.checkpoint.tokenizer):
        # The run that is not counted, and one that is.
        if clock() + 2 * token_s * size * length > end:
            break
        batch = [Item(text)] * size
        if not _can_run(backend, batch):
            break
        times: list[float] = []
        while len(times) < RUNS and (not times or clock() + times[-1] <= end):
            begun_at = clock()
            backend.execute(batch)
            times.append(clock() - begun_at)
        median = statistics.median(times)
        deviation = statistics.fmean(abs(one - median) for one in times)
        points.append(BatchTime(items=size, tokens=length, time_s=median, deviation_s=deviation))
        token_s = median / (size * length)
    return Profile(points=tuple(points), memory_bytes=memory.growth_bytes)


def _can_run(backend: Measurable, batch: list[Item]) -> bool:
    try:
        return not any(isinstance(output, SluiceError) for output in backend.execute(batch))
    except MemoryError:
        return False


def _batches(variant: Variant, tokenizer: Any) -> Iterator[tuple[int, str, int]]:
    """Sizes, the text that fills the batch, and its tokens; the fewest tokens first."""
    lengths = [length for length in LENGTHS if length <= variant.max_tokens] or [variant.max_tokens]
    sizes = [size for size in SIZES if size <= variant.max_batch_size]
    texts = dict(_text(tokenizer, length) for length in lengths)
    batches = [(size, text, tokens) for text, tokens in texts.items() for size in sizes]
    yield from sorted(batches, key=lambda batch: (batch[0] * batch[2], batch[2]))


def _text(tokenizer: Any, length: int) -> tuple[str, int]:
    """A text of `length` tokens, or as many fewer as words come to; and how many they are."""

    def tokens(words: int) -> int:
        return len(tokenizer(" ".join([_WORD] * words), truncation=False, verbose=False)["input_ids"])

    words = max(1, bisect_right(range(1, length + 1), length, key=tokens))
    return " ".join([_WORD] * words), tokens(words)
