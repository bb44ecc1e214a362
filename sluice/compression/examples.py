"""Texts to measure on, as `--evaluate` names them: with the right labels where the model is to find some."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.runtime.jsonl import read_rows, read_texts, text_of

_FIELD = "evaluate"


@dataclass(frozen=True, slots=True)
class Examples:
    """Texts, and each one's right label; no labels where the model embeds."""

    texts: tuple[str, ...]
    labels: tuple[str, ...] = ()


def read_examples(file: Path, known: Collection[str]) -> Examples:
    """The examples in `file`: JSON objects with `text` and one of the `known` labels, or, where none is known, texts.

    Raises InvalidRequest, field `evaluate`, naming file and line, when one is none.
    """
    if not known:
        return Examples(read_texts(file, field=_FIELD))

    def example(values: Mapping[str, Any], _: int) -> tuple[str, str]:
        text, label = text_of(values, "text"), text_of(values, "label")
        if label not in known:
            raise ValueError(f"the label '{label}' is none of the model's {len(known)}")
        return text, label

    texts, labels = zip(*read_rows(file, example, field=_FIELD), strict=True)
    return Examples(texts, labels)
