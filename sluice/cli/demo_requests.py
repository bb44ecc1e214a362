"""The example requests: a JSON object a line, with the label that is right."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.client.query import Query
from sluice.config import ConfigError
from sluice.tier import QueryClass

_CLASSES = {query_class.label: query_class for query_class in QueryClass if query_class}


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A request and its right answer."""

    query: Query
    label: str


def read_examples(path: Path) -> list[Example]:
    """The requests in `path`: `text` and `label`, and, if they are there, `query_class`, `priority` and `timeout_ms`.

    Raises ConfigError naming the line and what is wrong with it. Blank lines are passed over.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--requests: cannot read {path}: {error}") from error
    examples = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                examples.append(_example(json.loads(line), number))
            except (ValueError, TypeError) as error:
                raise ConfigError(f"--requests: {path}, line {number}: {error}") from error
    if not examples:
        raise ConfigError(f"--requests: {path} is empty")
    return examples


def _example(values: Any, number: int) -> Example:
    if not isinstance(values, Mapping):
        raise TypeError("is no JSON object")
    for key in ("text", "label"):
        if not isinstance(values.get(key), str):
            raise TypeError(f"'{key}' is missing, or no text")
    named = values.get("query_class")
    if named is not None and named not in _CLASSES:
        raise ValueError(f"query_class is {named!r}, and must be one of {', '.join(_CLASSES)}")
    timeout_ms = _number(values, "timeout_ms")
    query = Query(
        text=values["text"],
        query_class=_CLASSES.get(str(named), QueryClass.UNSPECIFIED),
        priority=_number(values, "priority"),
        timeout_s=None if timeout_ms is None else timeout_ms / 1000,
        request_id=f"demo-{number}",
    )
    return Example(query=query, label=values["label"])


def _number(values: Mapping[str, Any], key: str) -> float | None:
    value = values.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise TypeError(f"{key} is {value!r}, and must be a number")
    return value
