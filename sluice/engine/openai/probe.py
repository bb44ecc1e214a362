"""Asking a server, before it serves, whether it is there, has the model, and which fields it takes."""

from __future__ import annotations

import logging
from dataclasses import replace

from sluice.domain.errors import InvalidRequest, SluiceError
from sluice.engine.openai.http_client import OpenAIClient
from sluice.engine.openai.request_body import ALL, USAGE, Body, Capabilities, body_of
from sluice.worker.execution.generator import GenerationRequest
from sluice.worker.execution.openai_config import OpenAIServer

_PROMPT = GenerationRequest(text="warm up", max_new_tokens=1)

logger = logging.getLogger(__name__)


async def probe(server: OpenAIServer) -> Capabilities:
    """Have one token written for each field that not every server takes.

    Raises NoEndpoint when the server does not serve, and InvalidRequest naming the setting at fault.
    """
    async with OpenAIClient(server) as line:
        try:
            listed = await line.models()
        except SluiceError as error:
            error.field = "openai.url"
            raise
        _check_length(server, listed.get(server.model, {}).get("max_model_len"))
        try:
            await line.try_out(probe_request(server))
        except SluiceError as error:
            raise _explained(error, server, tuple(listed)) from error
        if listed and server.model not in listed:
            known = ", ".join(listed)
            logger.warning("the engine answers for a model that it does not list", extra={"listed": known})
        top_k = await _takes(line, server, {"top_k": ALL})
        dialect = Capabilities(
            stream_options=await _takes(line, server, {"stream_options": USAGE}),
            top_k=top_k,
            seed=await _takes(line, server, {"seed": 1}),
            generation_config=not top_k and await _takes(line, server, {"generation_config": "{}"}),
        )
        if not dialect.generation_config:
            return dialect
        return replace(dialect, samples=await _samples(line, server, dialect))


def probe_request(server: OpenAIServer) -> Body:
    """A request for one token, in words that every server understands."""
    return body_of(_PROMPT, server, Capabilities())


async def _takes(line: OpenAIClient, server: OpenAIServer, field: Body) -> bool:
    try:
        await line.try_out(probe_request(server) | field)
    except InvalidRequest as error:
        logger.info("the engine does not take a field", extra={"field": next(iter(field)), "why": error.message})
        return False
    return True


async def _samples(line: OpenAIClient, server: OpenAIServer, dialect: Capabilities) -> bool:
    # When it batches continuously, transformers' server writes every text as it wrote its first, which was ours: by
    # the most probable tokens. Hot as this is, texts that were sampled differ.
    hot = replace(_PROMPT, max_new_tokens=8, temperature=2.0)
    texts = [await line.try_out(body_of(hot, server, dialect)) for _ in range(2)]
    if texts[0] == texts[1]:
        logger.warning("the engine does not sample; texts with a temperature are refused")
    return texts[0] != texts[1]


def _check_length(server: OpenAIServer, length: object) -> None:
    # vLLM and SGLang tell; others do not.
    if isinstance(length, int) and server.max_tokens > length:
        problem = f"the engine serves '{server.model}' up to {length} tokens, not {server.max_tokens}"
        raise InvalidRequest(problem, field="openai.max_tokens")


def _explained(error: SluiceError, server: OpenAIServer, listed: tuple[str, ...]) -> SluiceError:
    known = f"; it lists {', '.join(listed)}" if listed and server.model not in listed else ""
    problem = f"the engine at {server.url} writes nothing as '{server.model}': {error.message}{known}"
    return type(error)(problem, field="openai")
