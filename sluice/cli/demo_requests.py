"""The example requests: a JSON object a line, with the label that is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.client.query import Query
from sluice.domain.enums import QueryClass
from sluice.domain.errors import InvalidRequest
from sluice.runtime.config import ConfigError
from sluice.runtime.jsonl import read_rows, text_of

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
        return read_rows(path, _example, field="requests")
    except InvalidRequest as error:
        raise ConfigError(f"--{error.field}: {error.message}") from error


def _example(values: Mapping[str, Any], number: int) -> Example:
    text, label = text_of(values, "text"), text_of(values, "label")
    named = values.get("query_class")
    if named is not None and named not in _CLASSES:
        raise ValueError(f"query_class is {named!r}, and must be one of {', '.join(_CLASSES)}")
    timeout_ms = _number(values, "timeout_ms")
    query = Query(
        text=text,
        query_class=_CLASSES.get(str(named), QueryClass.UNSPECIFIED),
        priority=_number(values, "priority"),
        timeout_s=None if timeout_ms is None else timeout_ms / 1000,
        request_id=f"demo-{number}",
    )
    return Example(query=query, label=label)


def _number(values: Mapping[str, Any], key: str) -> float | None:
    value = values.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise TypeError(f"{key} is {value!r}, and must be a number")
    return value
