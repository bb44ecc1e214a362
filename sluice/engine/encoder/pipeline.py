"""A batch from texts to outputs: tokens, sub-batches, the model, its head. What the backends have in common."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from sluice.domain.errors import SluiceError
from sluice.engine.checkpoint.checkpoint import Checkpoint
from sluice.engine.checkpoint.errors import checkpoint_error
from sluice.engine.encoder.heads import head_of
from sluice.engine.encoder.tokenize import MASK, Encoded, encode, padded
from sluice.worker.execution.backend import Backend, Item, Output

# Length-aware batches: how to cut a batch so that short texts are not padded to the longest.
#
# A sub-batch costs its padded tokens, texts x longest, and a constant overhead. Sorted by length, the best cut is a
# least-weight subsequence (Hirschberg and Larmore, SIAM J. Comput. 16, 1987); because a sub-batch's cost is linear in
# the number of texts before it, the lower envelope of lines finds it in linear time after the sort (Galil and Park,
# Theoret. Comput. Sci. 92, 1992).


def pack_by_length(lengths: Sequence[int], *, overhead: int) -> list[list[int]]:
    """Cut a batch of texts with `lengths` tokens into sub-batches, each a list of places in `lengths`.

    The sum of texts x longest + `overhead` (tokens, at least 0) over the sub-batches is the least possible. Texts of
    one length stay together, so that a batch's order has no part in who is computed with whom; sub-batches come
    shortest first, and places in a sub-batch in their order. Raises ValueError when `overhead` is negative.
    """
    if overhead < 0:
        raise ValueError(f"an overhead of {overhead} tokens is negative")
    counts = sorted(Counter(lengths).items())
    cuts = _cuts(counts, overhead)
    part_of = {length: part for part, (begin, end) in enumerate(cuts) for length, _ in counts[begin:end]}
    parts: list[list[int]] = [[] for _ in cuts]
    for place, length in enumerate(lengths):
        parts[part_of[length]].append(place)
    return parts


def _cuts(counts: Sequence[tuple[int, int]], overhead: int) -> list[tuple[int, int]]:
    """Half-open ranges of the distinct lengths `counts`, (length, texts) ascending, that cost the least together.

    With cost[j] the least for the first j lengths and texts[j] their texts, cost[j] is the minimum over i < j of
    cost[i] + (texts[j] - texts[i]) x length[j] + overhead: at x = length[j], the lowest of the lines with slope
    -texts[i] and value cost[i] at 0. Slopes fall and x rises, so a line once beaten never wins again.
    """
    cost, texts, begins = [0], [0], [0]
    hull: list[int] = [0]
    first = 0
    for end, (length, count) in enumerate(counts, start=1):
        begin = hull[first]
        while first + 1 < len(hull) and _at(hull[first + 1], length, cost, texts) < _at(begin, length, cost, texts):
            first += 1
            begin = hull[first]
        begins.append(begin)
        texts.append(texts[-1] + count)
        cost.append(_at(begin, length, cost, texts) + texts[end] * length + overhead)
        while len(hull) - first >= 2 and _is_beaten(hull[-2], hull[-1], end, cost, texts):
            hull.pop()
        hull.append(end)
    ranges = []
    end = len(counts)
    while end:
        ranges.append((begins[end], end))
        end = begins[end]
    return ranges[::-1]


def _at(line: int, length: int, cost: Sequence[int], texts: Sequence[int]) -> int:
    return cost[line] - texts[line] * length


def _is_beaten(before: int, line: int, after: int, cost: Sequence[int], texts: Sequence[int]) -> bool:
    """Whether `line` is nowhere below both of its neighbours: they meet before `line` gets below `before`."""
    left = (cost[after] - cost[before]) * (texts[line] - texts[before])
    right = (cost[line] - cost[before]) * (texts[after] - texts[before])
    return left <= right


# The batches that a backend runs before its first request, so that this one finds kernels and memory ready.


_TEXT = "warm up"
_SIZES = (1, 8)


def warm_up(backend: Backend, checkpoint: Path) -> None:
    """Run small batches. Raises InvalidRequest, field `checkpoint`, when the model cannot answer a plain text."""
    for size in _SIZES:
        for output in backend.execute([Item(_TEXT)] * size):
            if isinstance(output, SluiceError):
                raise checkpoint_error(checkpoint, "", f"cannot answer so much as '{_TEXT}': {output.message}")


Forward = Callable[[dict[str, Tensor]], Tensor]
"""From padded input by name, (items, tokens) integers on the CPU, to what OUTPUT_NAMES says, on any device."""

CPU_OVERHEAD_TOKENS = 32
"""What a forward pass costs on a CPU whatever is in it, in tokens of the same model; measured, see operations.md."""


class Pipeline:
    """Runs batches of one checkpoint. `overhead` is a sub-batch's cost in tokens; None keeps every batch in one.

    Texts are padded to a multiple of `step` tokens, as far as the model goes: an engine that keeps kernels for every
    shape that it has met then meets few.
    """

    def __init__(self, checkpoint: Checkpoint, *, overhead: int | None, step: int = 1) -> None:
        self._checkpoint = checkpoint
        self._head = head_of(checkpoint)
        self._overhead = overhead
        self._step = step
        # A tokenizer that is told to cut a text fails whoever reads another with it meanwhile.
        self._reading = threading.Lock()

    def prepare(self, items: Sequence[Item]) -> list[Encoded]:
        """The same items with their tokens, as `run` takes them. May be called from any thread."""
        with self._reading:
            return encode(self._checkpoint, items)

    def run(self, items: Sequence[Item], forward: Forward) -> list[Output]:
        """One output per item, in order; each sub-batch is padded to its longest.

        Items that are not prepared are prepared now.
        """
        read = [item for item in items if isinstance(item, Encoded)]
        if len(read) < len(items):
            read = self.prepare(items)
        outputs: list[Output | None] = [item.refusal for item in read]
        places = [place for place, item in enumerate(read) if item.refusal is None]
        lengths = [self._stepped(read[place].length) for place in places]
        for part in self._parts(lengths):
            chosen = [places[row] for row in part]
            batch = [read[place] for place in chosen]
            inputs = padded(self._checkpoint, batch, length=max(lengths[row] for row in part))
            answers = self._head.outputs(forward(inputs), inputs[MASK], batch)
            for place, answer in zip(chosen, answers, strict=True):
                outputs[place] = answer
        return [output for output in outputs if output is not None]

    def _stepped(self, length: int) -> int:
        return min(-(-length // self._step) * self._step, self._checkpoint.max_tokens)

    def _parts(self, lengths: Sequence[int]) -> list[list[int]]:
        if self._overhead is None:
            return [list(range(len(lengths)))] if lengths else []
        return pack_by_length(lengths, overhead=self._overhead)
