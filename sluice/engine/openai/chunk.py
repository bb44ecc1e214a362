"""One event of a streamed answer: what is new in the text, why it ends, and what was counted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from sluice.domain.errors import WorkerFailed
from sluice.engine.openai.refusal import refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """`finish` is the server's word for why the text ends, empty while it goes on. Counts are None when not told."""

    text: str = ""
    finish: str = ""
    tokens: int | None = None
    prompt_tokens: int | None = None


class _Delta(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    text: str | None = None
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Usage(BaseModel):
    completion_tokens: int = Field(default=0, ge=0)
    prompt_tokens: int = Field(default=0, ge=0)


class _Event(BaseModel):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


def read_chunk(data: str) -> Chunk:
    """Read an event of /completions or /chat/completions.

    Raises the error that the server reports in it, or WorkerFailed when it cannot be read.
    """
    try:
        event = _Event.model_validate_json(data)
    except ValidationError as error:
        raise WorkerFailed(f"the engine wrote what cannot be read: {data[:100]!r}") from error
    if event.error is not None:
        raise refusal(_status(event.error), json.dumps({"error": event.error}))
    choice = event.choices[0] if event.choices else _Choice()
    text = choice.text or (choice.delta.content if choice.delta is not None else None) or ""
    return Chunk(
        text=text,
        finish=choice.finish_reason or "",
        tokens=event.usage.completion_tokens if event.usage is not None else None,
        prompt_tokens=event.usage.prompt_tokens if event.usage is not None else None,
    )


def _status(error: Any) -> int:
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else 500
