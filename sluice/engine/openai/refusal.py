"""What it means for a text that the server answers with an HTTP status other than 200."""

from __future__ import annotations

import json
from typing import Any

from sluice.domain.errors import InvalidRequest, NoEndpoint, Saturated, SluiceError, WorkerFailed

_LONGEST = 300
_BAD_INPUT = frozenset({400, 413, 422})
# It is there and does not serve the model just now: the key is another, the model is gone, or still on its way.
_NOT_SERVING = frozenset({401, 403, 404, 405, 408, 502, 503, 504})
_TOO_MANY = 429
_UNAVAILABLE = 503
_OUR_NAMES = {"max_tokens": "max_new_tokens", "max_completion_tokens": "max_new_tokens", "messages": "prompt"}
_OURS = frozenset({"prompt", "max_new_tokens", "temperature", "top_p", "top_k", "seed"})


def refusal(status: int, body: str, *, retry_after: str = "") -> SluiceError:
    """The error for a text that was answered with `status` and `body`; `retry_after` is the header of that name.

    A server that says when to come back is full and nothing worse. Bad input carries the field that the server names,
    if it is one of ours.
    """
    words, field = _words_and_field(body)
    said = f"the engine said {status}" + (f": {words}" if words else "")
    wait_s = _seconds(retry_after)
    if status in _BAD_INPUT:
        return InvalidRequest(words or said, field=field)
    if status == _TOO_MANY or (status == _UNAVAILABLE and wait_s is not None):
        return Saturated(said, retry_after_s=wait_s)
    return NoEndpoint(said) if status in _NOT_SERVING else WorkerFailed(said)


def _words_and_field(body: str) -> tuple[str, str]:
    try:
        content = json.loads(body)
    except ValueError:
        return _one_line(body), ""
    # OpenAI, vLLM and SGLang: {"error": {...}} or {"message": ...}; FastAPI's own: {"detail": ...}.
    error = content.get("error", content) if isinstance(content, dict) else content
    if not isinstance(error, dict):
        return _one_line(error), ""
    param = str(error.get("param") or "")
    field = _OUR_NAMES.get(param, param)
    return _one_line(error.get("message") or error.get("detail") or error), field if field in _OURS else ""


def _one_line(said: Any) -> str:
    return " ".join(str(said).split())[:_LONGEST]


def _seconds(header: str) -> float | None:
    # The header may hold a date instead, which no engine was seen to send.
    try:
        return max(0.0, float(header))
    except ValueError:
        return None
