"""A batch from texts to outputs: tokens, sub-batches, the model, its head. What the backends have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from torch import Tensor

from sluice.engine.checkpoint.checkpoint import Checkpoint
from sluice.engine.encoder.heads import head_of
from sluice.engine.encoder.tokenize import MASK, Encoded, encode, padded
from sluice.engine.packing import pack
from sluice.worker.execution.backend import Item, Output

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
        return pack(lengths, overhead=self._overhead)
