"""The example requests: a JSON object a line, with the label that is right."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from sluice.client.query import Query
from sluice.config import ConfigError
from sluice.tier import QueryClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A request and its right answer."""

    query: Query
    label: str


def read_examples(path: Path) -> list[Example]:
    """The requests in `path`. Raises ConfigError naming the line that cannot be read."""
    classes = {query_class.label: query_class for query_class in QueryClass if query_class}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"--requests: cannot read {path}: {error}") from error
    examples = []
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
            query = Query(
                text=values["text"],
                query_class=classes[values["query_class"]],
                priority=float(values["priority"]),
                timeout_s=values["timeout_ms"] / 1000,
                request_id=f"demo-{number}",
            )
            examples.append(Example(query=query, label=values["label"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}, line {number}: {error!r}") from error
    if not examples:
        raise ConfigError(f"--requests: {path} is empty")
    return examples
