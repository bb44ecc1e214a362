"""Texts that a model is shown to learn the ranges of its activations, as ONNX Runtime's calibration reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader

from sluice.engine.fault import one_line
from sluice.engine.onnx_export import INPUT_NAMES
from sluice.errors import InvalidRequest


class TextReader(CalibrationDataReader):  # type: ignore[misc]
    """Gives each text by itself, unpadded: padding would be calibrated for, too. Ranges of texts can be picked."""

    def __init__(
        self, texts: Sequence[str], tokenizer: Any, *, max_tokens: int, on_text: Callable[[int], None]
    ) -> None:
        self._texts = texts
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._on_text = on_text
        self._next, self._end = 0, len(texts)

    def __len__(self) -> int:
        return len(self._texts)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Go on with the texts from `start_index` to before `end_index`."""
        self._next, self._end = start_index, end_index

    def get_next(self) -> dict[str, NDArray[np.int64]] | None:
        """The next text's inputs, each of shape 1 x tokens; None behind the last one."""
        if self._next >= self._end:
            return None
        text = self._texts[self._next]
        self._next += 1
        self._on_text(self._next)
        tokens = self._tokenizer([text], truncation=True, max_length=self._max_tokens, return_tensors="np")
        return {name: tokens[name].astype(np.int64) for name in INPUT_NAMES}


def read_texts(file: Path) -> tuple[str, ...]:
    """The texts in `file`: one a line, or JSON objects with a `text`, one a line; blank lines are passed over.

    The first line decides which. Raises InvalidRequest, field `calibration`, naming file and line.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{file} cannot be read: {one_line(error)}", field="calibration") from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise InvalidRequest(f"{file} holds no text", field="calibration")
    if not numbered[0][1].lstrip().startswith("{"):
        return tuple(line for _, line in numbered)
    return tuple(_text(file, number, line) for number, line in numbered)


def _text(file: Path, number: int, line: str) -> str:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise InvalidRequest(f"{file}, line {number}, is no JSON: {one_line(error)}", field="calibration") from error
    text = values.get("text") if isinstance(values, dict) else None
    if not isinstance(text, str):
        raise InvalidRequest(f"{file}, line {number}, has no text", field="calibration")
    return text
