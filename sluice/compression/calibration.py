"""Texts that a model is shown to learn the ranges of its activations, as ONNX Runtime's calibration reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader

from sluice.engine.checkpoint.checkpoint import Checkpoint
from sluice.engine.encoder.tokenize import encode, padded
from sluice.engine.onnx.export import INPUT_NAMES
from sluice.worker.execution.backend import Item


class TextReader(CalibrationDataReader):  # type: ignore[misc]
    """Gives each text by itself, unpadded: padding would be calibrated for, too. Ranges of texts can be picked.

    Texts are cut where the model ends; those without a token are left out.
    """

    def __init__(self, checkpoint: Checkpoint, texts: Sequence[str], *, on_text: Callable[[int], None]) -> None:
        read = encode(checkpoint, [Item(text, truncate=True) for text in texts])
        self._checkpoint = checkpoint
        self._items = [item for item in read if item.refusal is None]
        self._on_text = on_text
        self._next, self._end = 0, len(self)

    def __len__(self) -> int:
        return len(self._items)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Go on with the texts from `start_index` to before `end_index`."""
        self._next, self._end = start_index, end_index

    def get_next(self) -> dict[str, NDArray[np.int64]] | None:
        """The next text's inputs, each of shape 1 x tokens; None behind the last one."""
        if self._next >= self._end:
            return None
        item = self._items[self._next]
        inputs = padded(self._checkpoint, [item], length=item.length)
        self._next += 1
        self._on_text(self._next)
        return {name: inputs[name].numpy() for name in INPUT_NAMES}
