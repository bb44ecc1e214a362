"""Recorded traces: when requests came, and what they were, in JSON lines or CSV.

Each has `at_s`, seconds from the trace's start; and, if it was recorded, `priority`, `query_class` and `text`. What a
trace does not say is drawn as for any other arrival.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sluice.load.mix import THRESHOLD, Ask
from sluice.load.rows import read_rows
from sluice.load.text import QueryClassName, Text


class Recorded(BaseModel):
    """One request of a trace. None: it was not recorded. Whatever else a trace holds is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at_s: float = Field(ge=0, allow_inf_nan=False)
    priority: float | None = Field(default=None, ge=0, le=1)
    query_class: QueryClassName | None = None
    text: str | None = Field(default=None, min_length=1)

    def over(self, drawn: Ask) -> Ask:
        """What to ask: what was recorded, and for the rest what was `drawn`."""
        priority = drawn.priority if self.priority is None else self.priority
        text = drawn.text if self.text is None else Text(text=self.text)
        query_class = drawn.query_class if self.query_class is None else self.query_class
        return Ask(text=text, query_class=query_class, priority=priority, hot=priority >= THRESHOLD)


def read_trace(path: Path) -> tuple[Recorded, ...]:
    """The requests of `path`, in the order of their instants. Raises ConfigError naming the row at fault."""
    return tuple(sorted(read_rows(path, Recorded, option="--trace"), key=lambda one: one.at_s))


def write_trace(path: Path, requests: Iterable[tuple[float, Ask]]) -> None:
    """Write requests with their instants as JSON lines, so that `read_trace` gives them back."""
    with path.open("w", encoding="utf-8") as file:
        for at_s, ask in requests:
            row: dict[str, Any] = {"at_s": round(at_s, 6), "priority": round(ask.priority, 6), "text": ask.text.text}
            if ask.query_class:
                row["query_class"] = ask.query_class.label
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
