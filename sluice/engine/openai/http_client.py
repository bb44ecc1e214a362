"""The HTTP client of one server: keep-alive connections, server-sent events, and errors in the mesh's own words."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Any, Self

import httpx2
from pydantic import BaseModel, Field, ValidationError

from sluice.domain.errors import InvalidRequest, NoEndpoint, Saturated, SluiceError, WorkerFailed
from sluice.engine.openai.request_body import Body, path_of
from sluice.worker.execution.openai_config import OpenAIServer

# What it means for a text that the server answers with an HTTP status other than 200.


_LONGEST = 300
_BAD_INPUT = frozenset({400, 413, 422})
# It is there and does not serve the model just now: the key is another, the model is gone, or still on its way.
_NOT_SERVING = frozenset({401, 403, 404, 405, 408, 502, 503, 504})
_TOO_MANY = 429
_UNAVAILABLE = 503
_OUR_NAMES = {"max_tokens": "max_new_tokens", "max_completion_tokens": "max_new_tokens", "messages": "prompt"}
_OURS = frozenset({"prompt", "max_new_tokens", "temperature", "top_p", "top_k", "seed"})


def error_from_status(status: int, body: str, *, retry_after: str = "") -> SluiceError:
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


# One event of a streamed answer: what is new in the text, why it ends, and what was counted.


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionChunk:
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


def read_completion_chunk(data: str) -> CompletionChunk:
    """Read an event of /completions or /chat/completions.

    Raises the error that the server reports in it, or WorkerFailed when it cannot be read.
    """
    try:
        event = _Event.model_validate_json(data)
    except ValidationError as error:
        raise WorkerFailed(f"the engine wrote what cannot be read: {data[:100]!r}") from error
    if event.error is not None:
        raise error_from_status(_status(event.error), json.dumps({"error": event.error}))
    choice = event.choices[0] if event.choices else _Choice()
    text = choice.text or (choice.delta.content if choice.delta is not None else None) or ""
    return CompletionChunk(
        text=text,
        finish=choice.finish_reason or "",
        tokens=event.usage.completion_tokens if event.usage is not None else None,
        prompt_tokens=event.usage.prompt_tokens if event.usage is not None else None,
    )


def _status(error: Any) -> int:
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else 500


CONNECT_TIMEOUT_S = 5.0
# Below the five seconds after which uvicorn, on which most engines stand, closes an idle connection: the next text
# must not be sent into one that is being closed.
_KEEP_ALIVE_S = 3.0
# How long a stream may take to end after its last event, so that its connection can serve the next text.
_TAIL_S = 0.2
_LONGEST_ANSWER = 1 << 20
_DONE = "[DONE]"
_OK = 200


class OpenAIClient:
    """Use from one event loop, in an `async with`. At most `max_generations` texts at a time."""

    def __init__(self, server: OpenAIServer) -> None:
        self._server = server
        # Its own record of each request would be one for each text.
        for name in ("httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.WARNING)
        key = server.api_key.get_secret_value()
        silence_s, most = server.silence_timeout_s, server.max_generations + 1
        self._client = httpx2.AsyncClient(
            base_url=server.url,
            # A stream that is compressed waits for company.
            headers={"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {}),
            timeout=httpx2.Timeout(silence_s, connect=CONNECT_TIMEOUT_S, pool=None),
            limits=httpx2.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=_KEEP_ALIVE_S),
            # Prompts go to the server that was named, whatever proxy the environment knows.
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def models(self) -> dict[str, dict[str, Any]]:
        """What the server lists, by name; empty if it keeps no list. Raises as `write` does."""
        with self._told():
            async with self._client.stream("GET", "models") as response:
                body = await _read(response)
        if response.status_code != _OK:
            return {}
        try:
            listed = json.loads(body)["data"]
            return {str(one["id"]): one for one in listed}
        except (ValueError, KeyError, TypeError):
            return {}

    async def try_out(self, body: Body) -> str:
        """The whole of a text that nobody waits for. Raises as `write` does."""
        async with contextlib.aclosing(self.write(body)) as chunks:
            return "".join([chunk.text async for chunk in chunks])

    async def write(self, body: Body) -> AsyncGenerator[CompletionChunk, None]:
        """The events of one text. Closing the iterator closes the connection, by which the server knows to stop.

        Raises NoEndpoint when the server cannot be reached, falls silent or breaks off, what `error_from_status` makes
        of another status than 200, and WorkerFailed for an answer that is no stream of events.
        """
        with self._told():
            async with self._client.stream("POST", path_of(self._server), json=body) as response:
                if response.status_code != _OK:
                    retry_after = response.headers.get("retry-after", "")
                    raise error_from_status(response.status_code, await _read(response), retry_after=retry_after)
                events = aiter(httpx2.EventSource(response, max_event_size=_LONGEST_ANSWER))
                async for event in events:
                    if event.data == _DONE:
                        break
                    if event.data:
                        yield read_completion_chunk(event.data)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TAIL_S):
                        async for _ in events:
                            pass

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise NoEndpoint(f"the engine at {self._server.url} cannot be reached: {_why(error)}") from error
        except httpx2.TimeoutException as error:
            raise NoEndpoint(f"the engine said nothing for {self._server.silence_timeout_s:g} s") from error
        except (httpx2.SSEError, httpx2.DecodingError) as error:
            raise WorkerFailed(f"the engine answered with no stream of events: {_why(error)}") from error
        except httpx2.TransportError as error:
            raise NoEndpoint(f"the connection to the engine broke: {_why(error)}") from error


async def _read(response: httpx2.Response) -> str:
    """The beginning of an answer that is no stream."""
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > _LONGEST_ANSWER:
            break
    return body.decode(errors="replace")


def _why(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
