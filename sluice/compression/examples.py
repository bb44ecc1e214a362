"""Labelled texts, as `--evaluate` names them: JSON objects with `text` and `label`, one a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.engine.fault import one_line
from sluice.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Examples:
    """Texts, and the place of each one's right label among the model's labels."""

    texts: tuple[str, ...]
    truth: tuple[int, ...]


def read_examples(file: Path, labels: Sequence[str]) -> Examples:
    """The examples in `file`; blank lines are passed over.

    Raises InvalidRequest, field `evaluate`, naming file and line, when one is none or its label none of `labels`.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{file} cannot be read: {one_line(error)}", field="evaluate") from error
    places = {label: place for place, label in enumerate(labels)}
    texts, truth = [], []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                text, label = _fields(json.loads(line))
            except (ValueError, TypeError) as error:
                raise InvalidRequest(f"{file}, line {number}: {one_line(error)}", field="evaluate") from error
            if label not in places:
                problem = f"the label '{label}' is none of the model's {len(places)}"
                raise InvalidRequest(f"{file}, line {number}: {problem}", field="evaluate")
            texts.append(text)
            truth.append(places[label])
    if not texts:
        raise InvalidRequest(f"{file} holds no example", field="evaluate")
    return Examples(tuple(texts), tuple(truth))


def _fields(values: Any) -> tuple[str, str]:
    if not isinstance(values, dict):
        raise TypeError("is no JSON object")
    for key in ("text", "label"):
        if not isinstance(values.get(key), str):
            raise TypeError(f"'{key}' is missing, or no text")
    return values["text"], values["label"]
