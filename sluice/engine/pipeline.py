"""A batch from texts to outputs: tokens, sub-batches, the model, its head. What the backends have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from sluice.engine.checkpoint import Checkpoint
from sluice.engine.head import head_of
from sluice.engine.packing import pack
from sluice.engine.tokens import MASK, tokenize
from sluice.worker.backend import Item, Output

Forward = Callable[[dict[str, Tensor]], Tensor]
"""From padded input by name, (items, tokens) integers on the CPU, to what OUTPUT_NAMES says, on any device."""

CPU_OVERHEAD_TOKENS = 32
"""What a forward pass costs on a CPU whatever is in it, in tokens of the same model; measured, see operations.md."""


class Pipeline:
    """Runs batches of one checkpoint. `overhead` is a sub-batch's cost in tokens; None keeps every batch in one."""

    def __init__(self, checkpoint: Checkpoint, *, overhead: int | None) -> None:
        self._checkpoint = checkpoint
        self._head = head_of(checkpoint)
        self._overhead = overhead

    def run(self, items: Sequence[Item], forward: Forward) -> list[Output]:
        """One output per item, in order; the padded length is the longest of each sub-batch."""
        outputs: list[Output | None] = [None] * len(items)
        tokens = tokenize(self._checkpoint, items, outputs=outputs)
        for rows in self._parts(tokens.lengths):
            inputs = tokens.padded(rows)
            places = [tokens.places[row] for row in rows]
            computed = forward(inputs)
            answers = self._head.outputs(computed, inputs[MASK], [items[place] for place in places])
            for place, answer in zip(places, answers, strict=True):
                outputs[place] = answer
        return [output for output in outputs if output is not None]

    def _parts(self, lengths: Sequence[int]) -> list[list[int]]:
        if self._overhead is None:
            return [list(range(len(lengths)))] if lengths else []
        return pack(lengths, overhead=self._overhead)
